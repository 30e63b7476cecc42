"""Bound how often somebody may guess: by the address they come from, and by the account they name.

Failed or not, each attempt counts, but for those at a code before one that is right. An account's
bound is ASVS 2.2.1's (100 an hour) halved; it is wide, since whoever reaches it keeps the account's
owner out, too.
"""

import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import Flask, Response, current_app


@dataclass(frozen=True)
class Bound:
    """How many attempts are taken in any time of `window_s` seconds."""

    most: int
    window_s: float


#: Attempts from one address, and at one account.
BY_ADDRESS, BY_ACCOUNT = Bound(30, 300.0), Bound(50, 3600.0)
#: Those at the code of an account, of whose million three are right: who tries them has passed the
#: password, so that no stranger keeps its owner out.
BY_CODE = Bound(10, 3600.0)
#: Addresses and accounts that are counted; of more, those that were tried longest ago are
#: forgotten. Anybody can invent accounts, and many have many addresses.
MAX_COUNTED = 20_000
#: The name under which Flask keeps them.
EXTENSION = "cutmv-attempts"


class Attempts:
    """The latest attempts at one application. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: When each address and account was tried; the one that was tried last is last.
        self._at: OrderedDict[tuple[Bound, str], list[float]] = OrderedDict()

    def wait_s(self, address: str, account: str, bound: Bound = BY_ACCOUNT) -> int:
        """Count an attempt; seconds until another one is taken, 0 when this one is."""
        with self._lock:
            return self._wait_s(BY_ADDRESS, address) or self._wait_s(bound, _hidden(account))

    def forget(self, account: str, bound: Bound) -> None:
        """Count no attempt so far at an account: its owner was there."""
        with self._lock:
            self._at.pop((bound, _hidden(account)), None)

    def _wait_s(self, bound: Bound, who: str) -> int:
        now = time.monotonic()
        at = [each for each in self._at.pop((bound, who), ()) if each > now - bound.window_s]
        self._at[bound, who] = at
        if len(self._at) > MAX_COUNTED:
            self._at.popitem(last=False)
        if len(at) >= bound.most:
            return max(1, math.ceil(at[0] + bound.window_s - now))
        at.append(now)
        return 0


def _hidden(account: str) -> str:
    # Of one length, whatever a stranger invents.
    return hashlib.sha256(account.strip().casefold().encode()).hexdigest()


def register(app: Flask) -> None:
    """Count the attempts at `app`."""
    app.extensions[EXTENSION] = Attempts()


def attempts() -> Attempts:
    """Those at the application that handles this request."""
    return cast(Attempts, current_app.extensions[EXTENSION])


def too_often(page: Callable[..., Response], wait_s: int) -> Response:
    """Refuse who has to wait, by a page that takes a `problem` and a `status`."""
    minutes = math.ceil(wait_s / 60)
    when = "in a minute" if minutes == 1 else f"in {minutes} minutes"
    response = page(problem=f"Too many attempts: try again {when}.", status=429)
    response.headers["Retry-After"] = str(wait_s)
    return response
