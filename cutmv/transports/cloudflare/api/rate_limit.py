"""The rate limiter: keeps a process's metered calls within its share of the account's limit.

Cloudflare allows 1,200 calls in 5 minutes for a whole account, pulls and acks aside, and past that
refuses *every* call for minutes. So a call waits here until it fits: no window has more calls than
the limit. The first half of them may go at once, and the rest is spread over the remaining time of
the window, so that a long burst slows down rather than stops. The limiter also obeys what
Cloudflare's headers say is left, because other processes use the account.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

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

    def take(self, deadline: float) -> None:
        """Wait for a call's turn, and count it.

        Raises `Throttled` at once when the turn comes after `deadline` (by the limiter's clock).
        """
        while True:
            with self._lock:
                now = self._clock()
                wait = self._wait(now)
                if wait <= 0:
                    self._calls.append(now)
                    self._told.spend(1)
                    return
            if now + wait > deadline:
                raise Throttled(
                    f"the Cloudflare account's budget of REST calls is used up for the next "
                    f"{wait:.0f} s",
                    retry_after=wait,
                )
            time.sleep(max(MIN_WAIT, min(wait, LONGEST_SLEEP)))

    @property
    def scarce(self) -> bool:
        """Whether half of the limit is used up, by this process or by the whole account."""
        with self._lock:
            now = self._clock()
            left = self._told.least(now)
            mostly_told = left is not None and left < self.limit * BURST_SHARE
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

    def _wait(self, now: float) -> float:
        """Return the seconds until the next call may go; 0 or less for at once."""
        wait = max(self._closed_until - now, self._told.wait(now, 1))
        if self.limit:
            while self._calls and self._calls[0] + self.window <= now:
                self._calls.popleft()
            used = len(self._calls)
            if used >= max(1, int(self.limit * BURST_SHARE)):
                renewed_in = self._calls[0] + self.window - now
                since = now - self._calls[-1]
                spacing = renewed_in / (self.limit - used) if used < self.limit else renewed_in
                wait = max(wait, renewed_in if used >= self.limit else spacing - since)
        return wait
