"""Decides which of the pollers that wait for room pulls next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

#: Part of the time in which queues without messages may be pulled while others have some.
IDLE_SHARE = 0.05

#: Seconds of such time that may be saved up. A pull may take longer, and is then paid for later.
IDLE_SAVED_MAX = 0.1


class Fetcher(Protocol):
    """Asks for room for messages: a poller."""

    @property
    def stopped(self) -> bool:
        """Whether it has been told to stop."""

    @property
    def busy(self) -> bool:
        """Whether its queue has messages, as far as is known."""


class Turns:
    """The order of the pollers that share a worker's room for messages; its owner locks it.

    A pull takes up room for as long as it lasts, even one that brings nothing. So queues that have
    messages go first, each in its turn, and the others, each in its turn, get `IDLE_SHARE` of the
    time: with little room, many idle queues cost a busy one a twentieth of its throughput at most,
    and a message in an idle queue is found all the same. Without a busy queue all are equal.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: deque[Fetcher] = deque()
        self._saved = IDLE_SAVED_MAX
        self._saved_at = now()
        self._charged: dict[Fetcher, float] = {}  # idle pulls for which busy pollers wait

    def __bool__(self) -> bool:
        """Whether any poller waits."""
        return bool(self._waiting)

    def wait(self, fetcher: Fetcher) -> None:
        """Note that a poller waits for room."""
        self._waiting.append(fetcher)

    def leave(self, fetcher: Fetcher) -> None:
        """Note that a poller waits no longer."""
        self._waiting.remove(fetcher)

    def is_next(self, fetcher: Fetcher) -> bool:
        """Return whether the room that there is goes to this poller, of those that wait."""
        busy = next((each for each in self._waiting if each.busy), None)
        idle = next((each for each in self._waiting if not each.busy), None)
        if busy is None or idle is None:
            return self._waiting[0] is fetcher
        return fetcher is (idle if self._save() > 0 else busy)

    def start(self, fetcher: Fetcher) -> None:
        """Note that a poller pulls."""
        if not fetcher.busy and any(each.busy for each in self._waiting):
            self._charged[fetcher] = self._now()

    def end(self, fetcher: Fetcher) -> None:
        """Note that its pull has ended."""
        started = self._charged.pop(fetcher, None)
        if started is not None:
            self._saved = self._save() - (self._now() - started)

    def _save(self) -> float:
        """Return the seconds that idle queues may be pulled for."""
        now = self._now()
        earned = (now - self._saved_at) * IDLE_SHARE
        self._saved, self._saved_at = min(IDLE_SAVED_MAX, self._saved + earned), now
        return self._saved
