"""Turns Celery's ``eta`` into Cloudflare's delay; past twelve hours a message is delayed again.

A delay is in whole seconds, rounded down, so a message is delivered up to a second early. Celery
holds it for that time, and starts no task before its eta.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cutmv.transports.cloudflare.messages.limits import MAX_DELAY

#: Seconds that a consumer may hold a message which is not due: the rest that rounding to whole
#: seconds leaves, and the difference between two machines' clocks. A message that comes earlier
#: waits in its queue.
MAX_HOLD = 2.0


def due_at(message: Mapping[str, Any]) -> float | None:
    """Return when kombu's `message` is due, in seconds since 1970; none for at once.

    ``eta`` is in ISO 8601 (Celery's task message protocol 2); without an offset it is UTC.
    """
    eta = message["headers"].get("eta")
    if not isinstance(eta, str):
        return None
    try:
        when = datetime.fromisoformat(eta)
    except ValueError:
        return None  # the worker reports the error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def delay(due: float, now: float, retention: float) -> int:
    """Return the seconds (0 to 43,200) for which to delay a message that is due at `due`.

    A queue deletes messages older than its `retention` (seconds): half of that is left for a
    consumer to fetch the message.
    """
    return max(0, min(MAX_DELAY, int(retention / 2), int(due - now)))


def is_early(due: float | None, now: float) -> bool:
    """Return whether a message that came at `now` must go on waiting in its queue."""
    return due is not None and due - now > MAX_HOLD
