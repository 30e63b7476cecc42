"""Ends each delivery once, by an ack, a requeue or a reject, and extends long leases.

`delivery` holds a message and the lease on it; `acknowledger` is the only way to end it. Behind it,
`ack_batcher` gathers acks and returns into few calls to Cloudflare, which the threads of `callers`
make; `finished` knows what is done here; `renewer` extends leases by records, and `ledger` stores
the records, `edge_ledger` those that the edge Worker keeps; `finding` finds a ledger, which
`sought_ledger` opens and waits for, and `length` is how long a lease is without one. Imports
`messages`, `api`, `errors`, `options` and `runtime`.
"""

from cutmv.transports.cloudflare.leases import ledger
from cutmv.transports.cloudflare.leases.acknowledger import Acknowledger, Unaccepted
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.finding import (
    Found,
    Sources,
    bucket_name,
    choose_ledger,
    find_ledger,
    token_keys,
    token_keys_of,
)
from cutmv.transports.cloudflare.leases.ledger import Ledger, open_ledger
from cutmv.transports.cloudflare.leases.length import LeaseLength, without_ledger
from cutmv.transports.cloudflare.leases.renewer import Deadly

__all__ = [
    "Acknowledger",
    "Deadly",
    "Delivery",
    "Found",
    "Lease",
    "LeaseLength",
    "Ledger",
    "Sources",
    "Unaccepted",
    "bucket_name",
    "choose_ledger",
    "find_ledger",
    "ledger",
    "open_ledger",
    "token_keys",
    "token_keys_of",
    "without_ledger",
]
