"""Messages: their text, when they are due, and the claim check of those that are too large.

`limits` holds Cloudflare's limits, `envelope` turns a kombu message into text and back, `eta` tells
when it is due, `expiry` until when it may be delivered, `priority` orders those that wait, and
`outgoing` is a message on its way. `poison` finds what its reader would choke on, and `unpacking`
bounds what a compressed body becomes. `claim_check` keeps large messages in an object store:
`object_store` is the interface, `r2_store` and `directory_store` implement it, `stores` opens the
one that a URL names, and `r2` makes the S3 client. Imports `errors`, `options` and `runtime`.
"""

from cutmv.transports.cloudflare.messages import (
    claim_check,
    envelope,
    eta,
    expiry,
    limits,
    object_keys,
    priority,
)
from cutmv.transports.cloudflare.messages.claim_check import ClaimChecks
from cutmv.transports.cloudflare.messages.envelope import Undecodable
from cutmv.transports.cloudflare.messages.object_store import ObjectStore
from cutmv.transports.cloudflare.messages.outgoing import BroadcastMessage, Outgoing
from cutmv.transports.cloudflare.messages.r2 import (
    CONDITION_FAILED,
    MAX_DELETES,
    expiry_rule,
    lifecycle_rules,
    put_lifecycle_rule,
    r2_client,
)
from cutmv.transports.cloudflare.messages.stores import bucket_if_there, opener, r2_endpoint

__all__ = [
    "CONDITION_FAILED",
    "MAX_DELETES",
    "BroadcastMessage",
    "ClaimChecks",
    "ObjectStore",
    "Outgoing",
    "Undecodable",
    "bucket_if_there",
    "claim_check",
    "envelope",
    "eta",
    "expiry",
    "expiry_rule",
    "lifecycle_rules",
    "limits",
    "object_keys",
    "opener",
    "priority",
    "put_lifecycle_rule",
    "r2_client",
    "r2_endpoint",
]
