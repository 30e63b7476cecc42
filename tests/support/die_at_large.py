"""Publish or consume one large message, and die by SIGKILL at a named line of it.

python -m tests.support.die_at_large publish|consume POINT OPTIONS, where POINT is one of POINTS and
OPTIONS the transport's, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import kombu

import cutmv.transports.cloudflare
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.messages.directory_store import DirectoryObjectStore
from tests.support.die_at import deadly
from tests.support.transport import noise

assert cutmv.transports.cloudflare

#: What the process does, and the call before or after which it is gone.
POINTS: dict[str, dict[str, tuple[type, str, bool]]] = {
    "publish": {
        "before the object is written": (DirectoryObjectStore, "put", False),
        "after the object is written": (DirectoryObjectStore, "put", True),
        "before the message is published": (Client, "publish", False),
        "after the message is published": (Client, "publish", True),
    },
    "consume": {
        "after the pull": (Client, "pull", True),
        "before the object is read": (DirectoryObjectStore, "get", False),
        "after the object is read": (DirectoryObjectStore, "get", True),
        "before the ack": (Client, "end_leases", False),
        "after the ack": (Client, "end_leases", True),
        "before the object is removed": (DirectoryObjectStore, "delete", False),
        "after the object is removed": (DirectoryObjectStore, "delete", True),
    },
}


def main() -> None:
    """Replace the named function by one that ends this process, and go on until then."""
    role, point, options = sys.argv[1:]
    owner, name, call_it = POINTS[role][point]
    queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
    with kombu.Connection("cloudflare://", transport_options=json.loads(options)) as connection:
        queue(connection.channel()).declare()
        setattr(owner, name, deadly(getattr(owner, name), call_it))
        if role == "publish":
            connection.Producer().publish(noise(200_000), exchange="work", routing_key="work")
            return

        def take(_body: Any, message: kombu.Message) -> None:
            message.ack()

        with kombu.Consumer(connection, [queue], callbacks=[take]):
            while True:
                connection.drain_events(timeout=20)


if __name__ == "__main__":
    main()
