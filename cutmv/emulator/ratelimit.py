"""The REST API's rate limit: 1,200 calls in 5 minutes for a user, pulls and acks not counted.

https://developers.cloudflare.com/fundamentals/api/reference/limits/ : past the limit all calls of
that user are refused, the uncounted ones too, until the window ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cutmv.emulator import errors

#: Counted calls of one window.
QUOTA = 1200
#: Milliseconds a window lasts, from its first counted call.
WINDOW_MS = 5 * 60 * 1000
#: Routes that are not counted.
FREE_ROUTES = frozenset({"pull", "ack"})


@dataclass
class _Window:
    ends_ms: int
    used: int = 0
    blocked: bool = False


class RateLimit:
    """Counts the calls of each token in fixed windows."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._windows: dict[str, _Window] = {}

    def admit(self, token: str, route: str) -> None:
        """Count a call. Error: 429, with the seconds to wait, when the limit is used up."""
        window = self._window(token)
        if route not in FREE_ROUTES:
            window.used += 1
            window.blocked |= window.used > QUOTA
        if window.blocked:
            raise errors.rate_limited(self._seconds_left(window))

    def headers(self, token: str, style: str = "one") -> Mapping[str, str]:
        """Return the headers of a response that tell how many calls are left, in a `style`."""
        window = self._window(token)
        left, seconds = max(QUOTA - window.used, 0), self._seconds_left(window)
        told = {
            "one": f'"default";r={left};t={seconds}',
            "several": f'"burst;r=0;t=9";r=190;t=1, "default" ; t={seconds} ; r={left} ; pk=:YQ==:',
            "text": f'"default";r="{left}";t="{seconds}"',
            "garbage": "limit=?;;r=,t=;\u00b1",
            "missing": "",
        }[style]
        policy = f'"default";q={QUOTA};w={WINDOW_MS // 1000}'
        return {"ratelimit": told, "ratelimit-policy": policy} if told else {}

    def reset(self) -> None:
        """Forget all calls."""
        self._windows.clear()

    def _window(self, token: str) -> _Window:
        now = self._now_ms()
        window = self._windows.get(token)
        if window is None or window.ends_ms <= now:
            window = self._windows[token] = _Window(now + WINDOW_MS)
        return window

    def _seconds_left(self, window: _Window) -> int:
        return math.ceil((window.ends_ms - self._now_ms()) / 1000)
