"""How a delivery ends: its lease is acked, requeued, rejected or extended, once.

`delivery` is a message and the lease on it, `acknowledger` the one way to end it. Behind it,
`ack_batcher` gathers what is said to Cloudflare, `renewer` keeps long leases by records, and
`ledger` holds the records. Imports `messages`, `api`, `errors` and `runtime`.
"""

from cutmv.transports.cloudflare.leases import ledger
from cutmv.transports.cloudflare.leases.acknowledger import Acknowledger
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.ledger import Ledger, open_ledger
from cutmv.transports.cloudflare.leases.renewer import Deadly

__all__ = ["Acknowledger", "Deadly", "Delivery", "Lease", "Ledger", "ledger", "open_ledger"]
