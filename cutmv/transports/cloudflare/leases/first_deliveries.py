"""Tells which deliveries are surely the first of their message."""

from __future__ import annotations

import time

from cutmv.transports.cloudflare.leases.delivery import Delivery

#: Part of a lease for which a message can't have come back from a consumer that kept it.
YOUNG_PART = 0.5

#: Evidence after which it is believed that Cloudflare counts deliveries from 1: what a young
#: message gives that is said to be delivered once, and any other; and how much is enough.
YOUNG, OLD, ENOUGH = 10, 1, 100


class FirstDeliveries:
    """Decides whether the ledger has to be asked about a message. Threads share it.

    Cloudflare is believed to count deliveries from 1. If it counted from 0, a message's second
    delivery would look like a first one, and would run while another consumer still has it. Once a
    pull shows a 0, the counts are right (`api.PullHabits`). Until messages have given enough
    evidence of the contrary, one that is old enough to have been leased before is asked about.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._young = lease_seconds * YOUNG_PART
        self._evidence = 0  # a count that another thread loses does no harm

    def may_be_repeated(self, delivery: Delivery) -> bool:
        """Return whether the message may have been delivered before."""
        if delivery.attempts > 1 or delivery.orphaned or "attempts" not in delivery.entry:
            return True
        if self._evidence >= ENOUGH:
            return False
        sent_ms = delivery.entry.get("timestamp_ms")
        young = isinstance(sent_ms, int | float) and time.time() - sent_ms / 1000 < self._young
        self._evidence += YOUNG if young else OLD
        return not young
