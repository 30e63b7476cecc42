"""The Cloudflare Queues REST API on SQLite, for development and tests.

Nothing outside this package imports it: it is started as a process (`cutmv emulator`, or
`python -m cutmv.emulator`) and spoken to over HTTP. So it has no public names, and it imports
nothing of CUTMV. The modules, each knowing only those before it:

- `errors`: what a call is refused with;
- `model`: queues, consumers, messages and limits, and how the API shows them;
- `schema`: from a request's JSON to the model, or an error;
- `store`: all the SQL; synchronous, one connection, a clock passed in;
- `commit`: many requests, one transaction;
- `ratelimit`, `faults`, `stats`: what surrounds a call;
- `operations`: what each call does, and the table of routes;
- `api`, `control`: what happens around a call, and our own routes under `/_emulator`;
- `server`, `cli`: uvicorn, and the command.
"""
