"""The checks of `cutmv doctor`.

Each check is a generator of findings, so that what it found before it failed or hung is kept. None
changes what it checks: what it writes it deletes again, and it tests a permission by a request that
can't succeed.

`machine` checks this machine, `account` Cloudflare's queues, `bucket` the storage, `database` the
job store, `network` what has an address: the edge Worker, the webhook, Redis, clocks.
`workers` asks the workers.
"""
