"""Bound how often somebody may guess: by the address they come from, and by the account they name.

Failed or not, each attempt counts. An account's bound is ASVS 2.2.1's (100 an hour) halved; it is
wide, since whoever reaches it keeps the account's owner out, too.
"""

import hashlib
import time
from typing import cast

from flask import Flask, current_app
from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

#: Attempts from one address in 5 minutes, and at one account in an hour.
BY_ADDRESS, BY_ACCOUNT = RateLimitItemPerMinute(30, 5), RateLimitItemPerHour(50)
#: The name under which Flask keeps them.
EXTENSION = "cutmv-attempts"


class Attempts:
    """The attempts of the last hour at one application. Addresses bound how many are kept."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait_s(self, address: str, account: str) -> int:
        """Count an attempt; seconds until another one is taken, 0 when this one is."""
        who = hashlib.sha256(account.strip().casefold().encode()).hexdigest()
        for item, key in ((BY_ADDRESS, address), (BY_ACCOUNT, who)):
            if not self._limiter.hit(item, key):
                resets_at = self._limiter.get_window_stats(item, key).reset_time
                return max(1, int(resets_at - time.time()))
        return 0


def register(app: Flask) -> None:
    """Count the attempts at `app`."""
    app.extensions[EXTENSION] = Attempts()


def attempts() -> Attempts:
    """Those at the application that handles this request."""
    return cast(Attempts, current_app.extensions[EXTENSION])
