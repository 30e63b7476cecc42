"""What the edge Worker tells an operator of itself."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cutmv.transports.cloudflare.edge import EdgeClient
from cutmv.transports.cloudflare.errors import ServerFault
from cutmv.transports.cloudflare.session import Session

#: The Worker's route.
STATUS = "/v1/status"


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the Worker: whether it is awake, and how many pushed tasks it runs."""

    name: str
    awake: bool
    running: int


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """The edge Worker.

    Attributes:
        clients: How many processes are connected to the hub.
        containers: Its containers; none where it has no such.
        slots: How many tasks at once each of them runs, as far as is known.
        waiting: How many pushed messages wait for a slot.
    """

    clients: int
    containers: tuple[Container, ...] = ()
    slots: int = 0
    waiting: int = 0

    @classmethod
    def read(cls, document: Any) -> EdgeStatus:
        """Return what the Worker's answer says; raises `ServerFault` where it is none."""
        try:
            clients, found = int(document["clients"]), document["containers"]
            if found is None:
                return cls(clients)
            each = tuple(
                Container(str(one["name"]), bool(one["awake"]), int(one["running"]))
                for one in found["each"]
            )
            return cls(clients, each, int(found["slots"]), int(found["waiting"]))
        except (KeyError, TypeError, ValueError):
            raise ServerFault(f"the edge Worker's answer to {STATUS} is none", status=200) from None


def edge_status(session: Session) -> EdgeStatus | None:
    """Ask the edge Worker of a session for its status; none where the session has no Worker.

    Raises a `CloudflareError`.
    """
    options = session.options
    if not options.edge_url:
        return None
    scope = options.queue_name_prefix
    path = f"{STATUS}?{urlencode({'scope': scope})}" if scope else STATUS
    with closing(EdgeClient(options.edge_url, options.edge_keys, scope)) as client:
        return EdgeStatus.read(client.ask(path, {}))
