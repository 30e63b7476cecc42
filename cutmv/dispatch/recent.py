"""An answer that is asked for again only when it is old, by one thread at a time."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Recent(Generic[Answer]):
    """The latest answer of `ask`, `max_age_s` seconds old at most while `ask` is fast.

    Who comes while another thread asks gets the answer before, so that a neighbour that is slow
    holds one thread, and no more.
    """

    def __init__(self, ask: Callable[[], Answer], max_age_s: float) -> None:
        self._ask, self._max_age_s = ask, max_age_s
        self._lock = threading.Lock()
        self._latest: tuple[float, Answer] | None = None

    def get(self) -> Answer:
        """The answer. Raises what `ask` raises."""
        latest = self._latest
        if latest is None:  # there is no answer before the first
            with self._lock:
                return self._asked() if self._latest is None else self._latest[1]
        fresh = time.monotonic() - latest[0] < self._max_age_s
        if fresh or not self._lock.acquire(blocking=False):
            return latest[1]
        try:
            return self._asked()
        finally:
            self._lock.release()

    def _asked(self) -> Answer:
        answer = self._ask()
        self._latest = (time.monotonic(), answer)
        return answer
