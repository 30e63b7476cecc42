"""The rate limiter: keeps a process's metered calls within its share of the account's limit.

Cloudflare allows 1,200 calls in 5 minutes for a whole account, pulls and acks aside, and past that
refuses *every* call for minutes. So calls wait here until they fit: no window has more calls than
the limit. Calls that belong together (a message to several queues) go together or not at all, so
that none is spent on a part of them in vain. The first half of the limit may go at once, and the
rest is spread over the remaining time of the window, so that a long burst slows down rather than
stops. The limiter also obeys what Cloudflare's headers say is left, because other processes use the
account.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping

from cutmv.transports.cloudflare.api import operations
from cutmv.transports.cloudflare.api.told_limits import ToldLimits
from cutmv.transports.cloudflare.errors import Throttled

#: Part of the limit that may be used without waiting.
BURST_SHARE = 0.5

#: Seconds slept at most: another thread, or a response, may change the wait meanwhile.
LONGEST_SLEEP = 0.25

#: Seconds slept at least, so that rounding never makes a busy loop.
MIN_WAIT = 0.001


class RateLimiter:
    """At most `limit` calls in any `window` seconds; safe to share between threads.

    Of the calls that Cloudflare says are left, `reserve` are never used. A `limit` of 0 means that
    only the limit which Cloudflare tells is obeyed.
    """

    def __init__(
        self,
        limit: int,
        window: float,
        reserve: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self.window = window
        self.reserve = reserve
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: deque[float] = deque()
        self._closed_until = 0.0
        self._told = ToldLimits(reserve)
        #: How many calls were counted ever.
        self.made = 0
        _limiters.add(self)

    @property
    def at_once(self) -> int:
        """How many calls may be taken together at most."""
        return max(1, int(self.limit * BURST_SHARE)) if self.limit else sys.maxsize

    def take(self, deadline: float, count: int = 1) -> None:
        """Wait for the turn of `count` calls that belong together, and count them.

        `count` is `at_once` at most. Raises `Throttled` at once, and counts none of them, when the
        turn comes after `deadline` (by the limiter's clock).
        """
        while wait := self.try_take(count):
            if self._clock() + wait > deadline:
                raise Throttled(
                    f"the Cloudflare account's budget of REST calls is used up for the next "
                    f"{wait:.0f} s",
                    retry_after=wait,
                )
            time.sleep(max(MIN_WAIT, min(wait, LONGEST_SLEEP)))

    def try_take(self, count: int) -> float:
        """Count `count` calls that belong together if all of them may go now.

        Returns 0 if they may; else the seconds until they may, and none of them is counted.
        """
        with self._lock:
            now = self._clock()
            wait = self._wait(now, count)
            if wait > 0:
                return wait
            self._calls.extend([now] * count)
            self.made += count
            operations.called(count)
            self._told.spend(count)
            return 0.0

    @property
    def used(self) -> int:
        """How many calls of this process the present window has."""
        with self._lock:
            now = self._clock()
            return sum(at + self.window > now for at in self._calls)

    @property
    def account_left(self) -> float:
        """Which part of the account's calls is left, as Cloudflare says; 1 where it does not."""
        with self._lock:
            return self._told.least_part(self._clock(), self.limit)

    @property
    def scarce(self) -> bool:
        """Whether half of the limit is used up, by this process or by the whole account."""
        with self._lock:
            now = self._clock()
            mostly_told = self._told.least_part(now, self.limit) < BURST_SHARE
            recent = sum(at + self.window > now for at in self._calls)
            return self.limit > 0 and (mostly_told or recent >= self.limit * BURST_SHARE)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Note what a response's ``Ratelimit`` headers say."""
        if "ratelimit" in headers:
            with self._lock:
                self._told.learn(headers, self._clock())

    def close_for(self, seconds: float) -> None:
        """Let no call through for `seconds`, as a 429 asked."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)

    def _wait(self, now: float, count: int) -> float:
        """Return the seconds until the next `count` calls may go; 0 or less for at once."""
        wait = max(self._closed_until - now, self._told.wait(now, count))
        while self._calls and self._calls[0] + self.window <= now:
            self._calls.popleft()
        used = len(self._calls)
        too_many = used + count - self.limit
        if not self.limit or used + count <= self.at_once:
            return wait
        if too_many > 0:
            return max(wait, self._calls[min(too_many, used) - 1] + self.window - now)
        spacing = (self._calls[0] + self.window - now) / (self.limit - used)
        return max(wait, spacing * count - (now - self._calls[-1]))


#: The limiters of this process, until nobody has them any more.
_limiters: weakref.WeakSet[RateLimiter] = weakref.WeakSet()


def calls_report() -> dict[str, float]:
    """Return this process's metered calls: ``made`` since its start, and ``used`` of ``limit``.

    The latter are those of the last five minutes (`rate_window`). ``account_left`` is the part of
    the account's calls that Cloudflare says is left. Empty where there is no connection.
    """
    limiters = list(_limiters)
    if not limiters:
        return {}
    return {
        "made": sum(limiter.made for limiter in limiters),
        "used": sum(limiter.used for limiter in limiters),
        "limit": max(limiter.limit for limiter in limiters),
        "account_left": min(limiter.account_left for limiter in limiters),
    }
