"""A message to every queue that is bound to an exchange: remote control, its replies, events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BroadcastMessage:
    """A message to every queue that is bound to an exchange of this type.

    `at` is when it was published, by `time.monotonic`.
    """

    exchange: str
    type: str
    routing_key: str
    text: str
    at: float = field(default_factory=time.monotonic)
