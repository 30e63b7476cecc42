"""One delivery of a message to this process, and the right to end it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cutmv.transports.cloudflare.leases.length import SLACK
from cutmv.transports.cloudflare.runtime import clock


@dataclass(slots=True, eq=False)
class Lease:
    """The right to end one delivery of a message.

    Attributes:
        queue_id: The queue that the message was pulled from; empty where it was pushed.
        lease_id: Cloudflare's handle for an ack; in push mode an id that this process makes.
        key: What the message is known by (`envelope.identity`); empty where nobody need know it.
        until: When the right ends, by `runtime.clock`.
        seconds: How long a new lease of the message would be, where none can be extended; else 0.
        version: The version of this process's record in the ledger, if there is one (see
            `renewer`).
        losses: How many consumers were lost while they held the message before.
        noted: Whether the ledger is told that the message is done before its ack is accepted.
        lost: Whether another consumer has taken the message over.
    """

    queue_id: str
    lease_id: str
    key: str = ""
    until: float = math.inf
    seconds: float = 0.0
    version: str | None = None
    losses: int = 0
    noted: bool = False
    lost: bool = False


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that came to this process, and the lease on it. An `Acknowledger` ends it, once.

    Attributes:
        lease: The right to end it.
        entry: The message as Cloudflare delivered it (an entry of a pull's response).
        message: kombu's message, decoded from the entry; empty until then.
        object_key: The key of the object that holds the message; the object is deleted with it.
        owned: Whether this process may run the message. It is cleared where another consumer has
            the message, where it is done or waits on, or where no worker can read it.
        given: Whether the consumer was given the message.
        copied: Whether a copy takes the message's place: its end is then not the message's.
        copies: Deliveries of true copies of the message, which end with it.
        ended: Whether the delivery has been ended. What comes after the first end is void.
        accepted: Whether Cloudflare has accepted the end.
        on_end: In push mode, called when the message has ended, in place of the API: with the delay
            (s) until it is delivered again, or none for an ack. It must not block.
        on_lost: Called when another consumer has taken the message over.
        on_rejected: Called where the consumer rejected the message for good, in place of ending it.
        on_refused: Called where the consumer failed with the message, with its error.
    """

    lease: Lease
    entry: Mapping[str, Any] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)
    object_key: str | None = None
    owned: bool = True
    given: bool = False
    copied: bool = False
    copies: list[Delivery] = field(default_factory=list)
    ended: bool = False
    accepted: bool = False
    on_end: Callable[[Delivery, float | None], None] | None = None
    on_lost: Callable[[Delivery], None] | None = None
    on_rejected: Callable[[Delivery], None] | None = None
    on_refused: Callable[[Delivery, Exception], None] | None = None

    @classmethod
    def pulled(
        cls,
        queue_id: str,
        entry: Mapping[str, Any],
        until: float = math.inf,
        seconds: float = 0.0,
    ) -> Delivery:
        """Return the delivery of an entry of a pull's response, whose lease ends at `until`."""
        return cls(Lease(queue_id, entry["lease_id"], until=until, seconds=seconds), entry)

    def may_start(self, limit: float | None) -> bool:
        """Return whether a task with this time limit (s) may start under the lease that is left.

        If not, the message is another consumer's, or soon will be, or a new lease of it is longer.
        """
        lease = self.lease
        left = lease.until - clock()
        if self.ended or lease.lost or left <= 0:
            return False
        return limit is None or left >= limit or lease.seconds < limit + SLACK

    def until_with_copies(self, now: float) -> float:
        """Return when the first lease of the message and its copies ends; forget those that have.

        What such a lease was on comes again.
        """
        self.copies[:] = [each for each in self.copies if each.lease.until > now]
        leases = [self.lease, *(each.lease for each in self.copies)]
        return min((each.until for each in leases if each.until > now), default=self.lease.until)

    def leave_to_copy(self) -> None:
        """Note that a copy takes the message's place, and keeps its object and its identity.

        Ending this delivery then neither removes the object nor marks the copy as one that has run.
        """
        self.owned, self.object_key, self.copied = False, None, True

    @property
    def orphaned(self) -> bool:
        """Whether the worker that was given the message before is known to be gone for good."""
        return bool(self.entry.get("orphaned"))

    @property
    def attempts(self) -> int:
        """How often Cloudflare has delivered the message, this time included."""
        return int(self.entry.get("attempts") or 1)
