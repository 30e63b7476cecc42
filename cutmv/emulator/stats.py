"""Counts calls and messages since the start or the last reset, for tests to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from cutmv.emulator.model import AckResult, Delivery, Json, NewMessage, operations


@dataclass
class Stats:
    """Counters since the process started or was reset; a restart forgets them."""

    #: Calls by route, then by HTTP status or by the fault that took its place.
    calls: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    #: Calls refused by the rate limit.
    refused: int = 0
    #: Messages pushed.
    published: int = 0
    #: Messages delivered by pulls.
    deliveries: int = 0
    #: Deliveries that were not the message's first.
    redeliveries: int = 0
    #: Deliveries of copies that the fault `duplicate` made.
    duplicates: int = 0
    acked: int = 0
    retried: int = 0
    #: Write operations as Cloudflare bills them: one for each 64 KB of a message.
    writes: int = 0
    #: Read operations; a pull that brings nothing is one, too.
    reads: int = 0
    #: Delete operations by acks.
    deletes: int = 0

    def pushed(self, messages: Sequence[NewMessage]) -> None:
        """Count messages put into a queue."""
        self.published += len(messages)
        self.writes += sum(operations(len(each.body)) for each in messages)

    def settled(self, result: AckResult) -> None:
        """Count the messages of one acknowledgement."""
        self.acked += result.acked
        self.retried += result.retried
        self.deletes += result.deletes

    def delivered(self, messages: Sequence[Delivery]) -> None:
        """Count the messages of one pull."""
        self.reads += sum(operations(len(each.body)) for each in messages) or 1
        self.deliveries += len(messages)
        self.redeliveries += sum(each.attempts > 1 for each in messages)
        self.duplicates += sum(each.is_copy for each in messages)

    def as_json(self) -> Json:
        """Return all counters by name."""
        return {
            "calls": {route: dict(counts) for route, counts in self.calls.items()},
            "refused": self.refused,
            "published": self.published,
            "deliveries": self.deliveries,
            "redeliveries": self.redeliveries,
            "duplicates": self.duplicates,
            "acked": self.acked,
            "retried": self.retried,
            "billed": {"writes": self.writes, "reads": self.reads, "deletes": self.deletes},
        }

    def reset(self) -> None:
        """Set all counters to zero."""
        self.__init__()  # type: ignore[misc]  # every field has a default
