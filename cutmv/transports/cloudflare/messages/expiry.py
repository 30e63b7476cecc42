"""Message TTLs: until when a message may be delivered.

A message's own TTL (kombu's ``expiration``) becomes ``until`` in its envelope when it is published:
seconds since 1970. A queue's TTL (``message_ttl``) counts from the publish, as Cloudflare noted it.
Neither runs while a message is not due yet. Past its time a message is removed, and not delivered.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from cutmv.transports.cloudflare.messages import eta

#: The envelope's key for the time until which a message may be delivered.
UNTIL_KEY = "until"


def stamp(message: dict[str, Any], ttl: float | None = None) -> None:
    """Note in kombu's `message`, published now, until when it may be delivered, if it has a TTL.

    `ttl` is that of its queue, in seconds. Raises `ValueError` for an ``expiration`` that is none.
    A task with ``expires`` has no TTL of its own, though Celery names one: its worker reports such
    a task as revoked, and so must get it.
    """
    expiration = message["properties"].get("expiration")
    ttls = [] if ttl is None else [ttl]
    if expiration is not None and not message["headers"].get("expires"):
        try:
            ttls.append(int(expiration) / 1000)
        except (ValueError, OverflowError):
            raise ValueError(f"expiration must be seconds, not {expiration[:20]!r} ms") from None
    if not ttls:
        return
    starts = max(time.time(), eta.due_at(message) or 0.0)
    ends = starts + max(0.0, min(ttls))
    message[UNTIL_KEY] = min(ends, message.get(UNTIL_KEY, ends))


def is_over(message: Mapping[str, Any]) -> bool:
    """Return whether a message may not be delivered any more, by its envelope."""
    until = message.get(UNTIL_KEY)
    return isinstance(until, int | float) and time.time() >= until


def limit(message: dict[str, Any], published_ms: float | None, ttl: float | None) -> None:
    """Have a message that came from a queue with a TTL (s) end by it, too.

    `published_ms` is when Cloudflare took it, in ms since 1970; none if that is not known.
    """
    if ttl is None or published_ms is None:
        return
    ends = max(published_ms / 1000, eta.due_at(message) or 0.0) + ttl
    until = message.get(UNTIL_KEY)
    message[UNTIL_KEY] = min(ends, until) if isinstance(until, int | float) else ends
