"""What happened since the start or the last reset, for tests to look at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from cutmv.emulator.model import Delivery, Json


@dataclass
class Stats:
    """Counters; all of them since the process started, so a restart forgets them."""

    #: By route, then by HTTP status or by the fault that took its place.
    calls: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    #: Calls refused by the rate limit.
    refused: int = 0
    #: Messages pushed.
    published: int = 0
    #: Messages handed out by pulls.
    deliveries: int = 0
    #: Of those, not the message's first.
    redeliveries: int = 0
    #: Of those, copies made by the fault `duplicate`.
    duplicates: int = 0
    acked: int = 0
    retried: int = 0

    def delivered(self, messages: Sequence[Delivery]) -> None:
        """Count the messages of one pull."""
        self.deliveries += len(messages)
        self.redeliveries += sum(each.attempts > 1 for each in messages)
        self.duplicates += sum(each.is_copy for each in messages)

    def as_json(self) -> Json:
        """All of them by name."""
        return {
            "calls": {route: dict(counts) for route, counts in self.calls.items()},
            "refused": self.refused,
            "published": self.published,
            "deliveries": self.deliveries,
            "redeliveries": self.redeliveries,
            "duplicates": self.duplicates,
            "acked": self.acked,
            "retried": self.retried,
        }

    def reset(self) -> None:
        """Start again from nothing."""
        self.__init__()  # type: ignore[misc]  # every field has a default
