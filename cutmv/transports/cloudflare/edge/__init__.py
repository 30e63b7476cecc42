"""Talks to the edge Worker: publishes through it, connects to its hub, and takes its pushes.

`publishing` makes the publishing call. `hub_client` is the connection to the hub, `hub_socket`
opens it, and `hub_protocol` defines its operations. `push_server` takes the messages that the
Worker pushes, which `push_gate` admits, as `push_protocol` reads them, and `signature` signs
requests both ways, by keys that `keys` checks. Imports `queues`, `api`, `options`, `errors` and
`runtime`.
"""

from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.edge.hub_client import HubClient
from cutmv.transports.cloudflare.edge.hub_protocol import HubMessage, fits
from cutmv.transports.cloudflare.edge.keys import check_keys
from cutmv.transports.cloudflare.edge.publishing import EdgeClient, to_edge
from cutmv.transports.cloudflare.edge.push_protocol import DeliveryCallback, Outcome
from cutmv.transports.cloudflare.edge.push_server import PushServer
from cutmv.transports.cloudflare.edge.signature import Rejected, SeenIds

__all__ = [
    "DeliveryCallback",
    "EdgeClient",
    "HubClient",
    "HubMessage",
    "Outcome",
    "PushServer",
    "Rejected",
    "SeenIds",
    "check_keys",
    "fits",
    "signature",
    "to_edge",
]
