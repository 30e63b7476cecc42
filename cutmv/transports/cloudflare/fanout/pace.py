"""The pace: how often a process may send events and list queues, so that all processes fit.

Without the hub, an event costs a metered call for each subscriber and each worker that sends, and
the account's limit is shared by all of them. No worker knows what the others send, but each knows
how many there are: the list of queues shows the control queue of each. So each takes an equal part
of the account's calls for events:

- a call for events is due `spacing` seconds after the last one, in the long run; what was saved in
  a quiet minute may be spent at once;
- heartbeats alone take a third of that, so that idle workers leave more than they take;
- while more than half of the account's limit is used up, events get a quarter of their part: few,
  but never none, since a worker that is not heard of counts as dead.
"""

from __future__ import annotations

from math import ceil

from cutmv.transports.cloudflare.api import PAGE_SIZE, RateLimiter
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import QueueDirectory, exchange_digest

#: The end of the name of the exchange to which workers bind their control queues, and Celery's
#: default.
CONTROL_SUFFIX, CONTROL_EXCHANGE = ".pidbox", "celery.pidbox"

#: Seconds for which a list of queues is believed, at least, where new bindings are looked for.
LIST_BELIEVED_MIN = 30.0

#: Part of the account's calls by which all workers together look for new bindings.
LIST_SHARE = 0.05

#: How many times rarer events are while half of the account's limit is used up.
SCARCE_FACTOR = 4

#: Part of the window that the calls may be ahead of their pace after a quiet time.
SAVED_SHARE = 0.25

#: Heartbeats alone are so many times rarer than events may be.
HEARTBEAT_FACTOR = 3


class Pace:
    """Reckons a process's pace from the bindings that it knows. Makes no call."""

    def __init__(
        self,
        limiter: RateLimiter,
        directory: QueueDirectory,
        own: TemporaryQueues,
        options: Options,
    ) -> None:
        self._limiter, self._directory, self._own = limiter, directory, own
        self._scope, self._share = options.queue_name_prefix, options.event_rate_share
        self._account = options.rate_limit * (1 - options.rate_reserve)
        self._window = options.rate_window

    @property
    def workers(self) -> int:
        """How many workers there are, as far as is known; 1 at least."""
        exchange = self._own.bound_to(CONTROL_SUFFIX) or CONTROL_EXCHANGE
        known = self._directory.temporary_bindings(exchange_digest(self._scope, exchange))
        return max(1, len(known))

    @property
    def spacing(self) -> float:
        """Seconds from one call for events to the next; 0 where calls are not limited."""
        if not self._limiter.limit or not self._share:
            return 0.0
        part = self._share * min(self._account / self.workers, self._limiter.limit)
        return self._window / part * (SCARCE_FACTOR if self._limiter.scarce else 1)

    @property
    def saved(self) -> float:
        """Seconds that the calls may be ahead of their pace at most."""
        return self._window * SAVED_SHARE

    def heartbeat_interval(self, subscribers: int) -> float:
        """Return the seconds between heartbeats to so many subscribers, at least."""
        return HEARTBEAT_FACTOR * subscribers * self.spacing

    @property
    def list_interval(self) -> float:
        """Seconds after which the queues are listed again to find new bindings."""
        if not self._account:
            return LIST_BELIEVED_MIN
        pages = max(1, ceil(len(self._directory.all) / PAGE_SIZE))
        calls = LIST_SHARE * self._account / self._window
        return max(LIST_BELIEVED_MIN, pages * self.workers / calls)
