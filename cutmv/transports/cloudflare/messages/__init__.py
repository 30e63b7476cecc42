"""What a message is: its text, when it is due, and how one that is too large travels.

`limits` are Cloudflare's, `envelope` is a kombu message as text, `eta` when it is due, `outgoing`
one on its way to a queue; `claim_check` keeps large ones in an object store: `object_store` says
what that does, `r2_store` and `directory_store` do it, `stores` opens the one a URL names, `r2` is
the S3 client. Imports `errors`, `options` and `runtime`.
"""

from cutmv.transports.cloudflare.messages import claim_check, envelope, eta, limits
from cutmv.transports.cloudflare.messages.claim_check import ClaimChecks
from cutmv.transports.cloudflare.messages.envelope import Undecodable
from cutmv.transports.cloudflare.messages.object_store import ObjectStore
from cutmv.transports.cloudflare.messages.outgoing import Outgoing
from cutmv.transports.cloudflare.messages.r2 import (
    expiry_rule,
    lifecycle_rules,
    put_lifecycle_rule,
    r2_client,
)
from cutmv.transports.cloudflare.messages.stores import opener

__all__ = [
    "ClaimChecks",
    "ObjectStore",
    "Outgoing",
    "Undecodable",
    "claim_check",
    "envelope",
    "eta",
    "expiry_rule",
    "lifecycle_rules",
    "limits",
    "opener",
    "put_lifecycle_rule",
    "r2_client",
]
