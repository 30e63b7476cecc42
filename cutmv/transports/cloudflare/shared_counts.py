"""Counts that a process shares with those that it forks, such as a worker's pool."""

from __future__ import annotations

import mmap
import os
import struct
import threading
import weakref

#: Processes that have a place of their own, by their ids. Two that share one may lose a count.
PLACES = 256

_COUNT = struct.Struct("<Q")


class SharedCounts:
    """Counts by name, from zero up. Threads share them, and so do processes that are forked later.

    >>> counts = SharedCounts("sent", "lost")
    >>> counts.add("sent", 3)
    >>> counts.report()
    {'sent': 3, 'lost': 0}
    """

    def __init__(self, *names: str) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        self._page = mmap.mmap(-1, PLACES * len(names) * _COUNT.size)
        self._lock = threading.Lock()
        _all.add(self)

    def add(self, name: str, count: int = 1) -> None:
        """Count so many more."""
        at = (os.getpid() % PLACES * len(self._places) + self._places[name]) * _COUNT.size
        with self._lock:
            _COUNT.pack_into(self._page, at, _COUNT.unpack_from(self._page, at)[0] + count)

    def report(self) -> dict[str, int]:
        """Return each count, of all of these processes together."""
        told = struct.unpack(f"<{PLACES * len(self._places)}Q", self._page[:])
        step = len(self._places)
        return {name: sum(told[place::step]) for name, place in self._places.items()}

    def renew_lock(self) -> None:
        """Forget a lock that another thread of the parent process may have held."""
        self._lock = threading.Lock()


_all: weakref.WeakSet[SharedCounts] = weakref.WeakSet()


def _forget_parents() -> None:
    for counts in list(_all):
        counts.renew_lock()


os.register_at_fork(after_in_child=_forget_parents)
