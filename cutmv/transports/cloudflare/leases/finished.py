"""The messages that ended in this process, and whose acks Cloudflare may not have accepted yet."""

from __future__ import annotations

import math
from collections import OrderedDict, deque

from cutmv.transports.cloudflare.leases.delivery import Delivery
from cutmv.transports.cloudflare.runtime import clock

#: Seconds that a message is remembered after Cloudflare has accepted its ack: a copy of it may come
#: that was published twice, or, after a late ack, one that a pull before the ack brings.
REMEMBER = 60.0

#: Messages of which that is remembered, where Cloudflare accepted the ack in time.
MAX_RECENT = 10_000

#: Messages whose deliveries were returned before anybody was given them, of which that is known.
MAX_UNSEEN = 10_000


class FinishedMessages:
    """Tells of copies that come to this process what became of their messages here.

    No method blocks or takes a lock, since garbage collection may end a delivery in any thread.
    """

    def __init__(self) -> None:
        self._finished: dict[str, Delivery] = {}
        self._to_forget: deque[tuple[float, Delivery]] = deque()
        self._recent: OrderedDict[str, float] = OrderedDict()  # done, and when that was accepted
        self._unseen: OrderedDict[str, int] = OrderedDict()

    def add(self, delivery: Delivery) -> None:
        """Note that a message is done here: it was run, or rejected."""
        self._finished[delivery.lease.key] = delivery

    def all(self) -> list[Delivery]:
        """Return the deliveries of the messages that are done here and still remembered."""
        return list(self._finished.values())

    def has(self, key: str) -> bool:
        """Return whether the message is done here, and a copy of it need not run."""
        finished = self._finished.get(key)
        if finished is not None:
            return not finished.lease.lost
        return clock() - self._recent.get(key, -math.inf) < REMEMBER

    def settle(self, delivery: Delivery) -> None:
        """Note that Cloudflare knows of a message's end; forget it once no copy can come."""
        now, until = clock(), delivery.lease.until
        if self._finished.get(delivery.lease.key) is delivery:
            if delivery.accepted and now < until:
                self._recent[delivery.lease.key] = now
                if len(self._recent) > MAX_RECENT:
                    self._recent.popitem(last=False)
                self._forget(delivery)
            else:
                end = until if now < until < math.inf else now
                self._to_forget.append((end + REMEMBER, delivery))
        while self._to_forget and self._to_forget[0][0] <= now:
            self._forget(self._to_forget.popleft()[1])

    def returned_unseen(self, key: str) -> None:
        """Note that a delivery goes back to its queue, and nobody was given its message."""
        self._unseen[key] = self._unseen.pop(key, 0) + 1
        if len(self._unseen) > MAX_UNSEEN:
            self._unseen.popitem(last=False)

    def seen_before(self, delivery: Delivery) -> bool:
        """Return whether an earlier delivery of the message may have come to somebody."""
        if delivery.orphaned:
            return True
        return delivery.attempts - 1 > self._unseen.get(delivery.lease.key, 0)

    @property
    def waiting(self) -> int:
        """How many messages are done here and still remembered."""
        return len(self._finished)

    def _forget(self, delivery: Delivery) -> None:
        if self._finished.get(delivery.lease.key) is delivery:
            del self._finished[delivery.lease.key]
