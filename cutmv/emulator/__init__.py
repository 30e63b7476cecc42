"""The Cloudflare Queues REST API on SQLite, for development and tests.

Nothing outside this package imports it: it is started as a process (`cutmv emulator`, or
`python -m cutmv.emulator`) and called over HTTP. So it has no public names, and it imports nothing
of CUTMV. The modules, each importing only those before it:

- `errors`: the errors with which a call is refused;
- `model`: queues, consumers, messages and limits, and their JSON in the API;
- `schema`: turns a request's JSON into the model, or raises an error;
- `store`: all the SQL; synchronous, with one connection and a clock that the caller passes in;
- `commit`: runs the work of many requests in one transaction;
- `ratelimit`, `faults`, `beliefs`, `stats`: the rate limit, injected faults, what the real API may
  do otherwise, and counters of calls;
- `operations`: the work of each call, and the table of routes;
- `api`, `control`: admits and answers calls, and adds the emulator's own routes under `/_emulator`;
- `server`, `cli`: the uvicorn server, and the command.
"""
