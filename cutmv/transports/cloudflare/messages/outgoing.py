"""A message on its way: to one queue, or to every queue that is bound to an exchange."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from cutmv.transports.cloudflare.messages.limits import size


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message's text, made by `ClaimChecks.fit`, and when it is due (seconds since 1970).

    Errors call it `name`, and Cloudflare counts `size` bytes for it.
    """

    text: str
    due: float | None = None
    name: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Compute the size, once."""
        object.__setattr__(self, "size", size(self.text))


@dataclass(frozen=True, slots=True)
class BroadcastMessage:
    """A message to every queue that is bound to an exchange of this type: remote control, events.

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
