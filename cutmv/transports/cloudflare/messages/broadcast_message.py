"""A message to every queue that is bound to an exchange: remote control, its replies, events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class BroadcastMessage:
    """A message to every queue that is bound to an exchange of this type.

    `type` is empty where only processes on the hub may know it. `at` is when it was published, by
    `time.monotonic`.
    """

    exchange: str
    type: str
    routing_key: str
    text: str
    at: float = field(default_factory=time.monotonic)

    def of_each_type(self) -> list[BroadcastMessage]:
        """Return the message for each type that its exchange may have."""
        return [replace(self, type=kind) for kind in ("fanout", "topic", "direct")]
