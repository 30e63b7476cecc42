"""What the edge Worker and a push server say to each other (docs/edge.md, "Push")."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

#: Seconds that the Worker has for a batch where it does not say how many are left.
WALL = 870.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the delivery of a message ended.

    ``ack``; ``retry`` after a delay (s); ``busy``: no worker took it, and it comes again after a
    delay; or ``wait``: it has waited for room for a while, and the Worker asks again at once.
    """

    outcome: Literal["ack", "retry", "busy", "wait"]
    delay_seconds: int | None = None

    def line(self, message_id: str) -> bytes:
        """Return the line of the response that says so."""
        told: dict[str, Any] = {"id": message_id, "outcome": self.outcome}
        if self.delay_seconds is not None:
            told["delay_seconds"] = self.delay_seconds
        return json.dumps(told).encode() + b"\n"


#: Takes one message's outcome for the connection that waits for it; it never blocks.
DeliveryCallback = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class PushBatch:
    """A batch of messages that the Worker posts.

    Attributes:
        queue_name: The queue of the account that they come from.
        messages: The messages, as entries of a pull's response.
        seconds: For how long the Worker can still wait for their outcomes.
        worker: The id of the push server to which they were posted before, and which may have them.
            Where they are *orphaned*, which an entry then tells, that one is gone for good.
    """

    queue_name: str
    messages: list[dict[str, Any]]
    seconds: float = WALL
    worker: str | None = None

    @classmethod
    def read(cls, body: bytes) -> PushBatch:
        """Return the batch of a request's body; raises `ValueError`."""
        try:
            document = json.loads(body)
            orphaned = {"orphaned": True} if document.get("orphaned") is True else {}
            messages = [
                {
                    "id": str(each["id"]),
                    "attempts": int(each["attempts"]),
                    "timestamp_ms": int(each["timestamp_ms"]),
                    **_content(str(each["body"]), str(each.get("content_type", "text"))),
                    **orphaned,
                }
                for each in document["messages"]
            ]
            seconds = float(document.get("seconds", WALL))
            worker = document.get("worker")
            return cls(str(document["queue"]), messages, seconds, worker and str(worker))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError("The body must be a batch of messages, as in docs/edge.md.") from None


def _content(body: str, kind: str) -> dict[str, Any]:
    """Return a body and its type as a pull's response has them: JSON is in base64 there."""
    if kind == "json":
        body = base64.b64encode(body.encode(errors="replace")).decode()
    return {"body": body, "metadata": {"CF-Content-Type": kind}}
