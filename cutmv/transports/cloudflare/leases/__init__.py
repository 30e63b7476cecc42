"""Ends each delivery once, by an ack, a requeue or a reject, and extends long leases.

`delivery` holds a message and the lease on it; `acknowledger` is the only way to end it. Behind it,
`ack_batcher` gathers acks and returns into few calls to Cloudflare, which the threads of `callers`
make; `finished` knows what is done here; `renewer` extends leases by records, and `ledger` stores
the records. Imports `messages`, `api`, `errors` and `runtime`.
"""

from cutmv.transports.cloudflare.leases import ledger
from cutmv.transports.cloudflare.leases.acknowledger import Acknowledger
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.ledger import Ledger, open_ledger
from cutmv.transports.cloudflare.leases.renewer import Deadly

__all__ = ["Acknowledger", "Deadly", "Delivery", "Lease", "Ledger", "ledger", "open_ledger"]
