"""How long a lease is that no ledger extends."""

from __future__ import annotations

import logging

from cutmv.transports.cloudflare.options import MAX_VISIBILITY_TIMEOUT

logger = logging.getLogger(__name__)

#: Seconds of a lease where nothing asks for more, as in kombu's Redis transport.
DEFAULT_SECONDS = 3600.0

#: Seconds between a task's time limit and its lease's end: to start it, end it, and ack it.
SLACK = 60.0


class LeaseLength:
    """The seconds for which pulls of one queue lease messages.

    Where they may `grow`, a message that may run for longer than that is pulled again, under a
    lease that suits it. Where a ledger has leases `extended`, any suits any task.
    """

    def __init__(self, seconds: float, *, grows: bool = False, extended: bool = False) -> None:
        self.seconds = seconds
        self.grows = grows
        self._told = extended

    def suits(self, limit: float | None, queue: str) -> bool:
        """Return whether a lease suits a task of `queue` that may run for `limit` seconds.

        If not, the leases of later pulls do. Where no lease can be as long, it suits all the same,
        and that is told once.
        """
        if limit is None:
            return True
        needed = min(MAX_VISIBILITY_TIMEOUT, limit + SLACK)
        if self.grows and needed > self.seconds:
            self.seconds = needed
            logger.info(
                "cloudflare: messages of queue %r are leased for %.0f s from now on, since a "
                "task's time limit is %.0f s",
                queue,
                needed,
                limit,
            )
            return False
        if limit > self.seconds and not self._told:
            self._told = True
            logger.warning(
                "cloudflare: a task of queue %r may run for %.0f s, but messages are leased for "
                "%.0f s: without a lease ledger, what takes longer runs elsewhere as well",
                queue,
                limit,
                self.seconds,
            )
        return True


def without_ledger(longest_hold: float | None) -> float:
    """Return the seconds of a lease, where tasks hold a message for `longest_hold` seconds."""
    needed = DEFAULT_SECONDS if longest_hold is None else longest_hold + SLACK
    return min(float(MAX_VISIBILITY_TIMEOUT), max(DEFAULT_SECONDS, needed))
