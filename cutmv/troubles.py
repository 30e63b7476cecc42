"""Errors that nobody expected, in the threads beside the work: logged, counted, and lived through.

The transport's threads have a register of their own (`cutmv.transports.cloudflare`).
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Seconds without an error after which a thread counts as well again.
WELL_AFTER_S = 60.0
#: Seconds of the first pause after an error, and of the longest.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 15.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """The errors of one kind of thread: how many, the type of the last, and when (monotonic)."""

    errors: int
    last: str
    at: float

    @property
    def well(self) -> bool:
        """Whether the last error is long ago."""
        return time.monotonic() - self.at > WELL_AFTER_S


_lock = threading.Lock()
_troubles: dict[str, Trouble] = {}


def note_trouble(log: logging.Logger, thread: str, error: BaseException) -> None:
    """Log an error of a thread with its traceback, and count it.

    `thread` is one of a few names, whatever the number of threads. An error like the last one a
    moment ago has no traceback again.
    """
    last = type(error).__name__
    with _lock:
        before = _troubles.get(thread)
        _troubles[thread] = Trouble(before.errors + 1 if before else 1, last, time.monotonic())
    is_new = before is None or before.well or before.last != last
    told = error if is_new else None
    log.error("%s met an error that nobody expected, and goes on: %s", thread, last, exc_info=told)


def troubles() -> dict[str, Trouble]:
    """The threads of this process that ever met an error, by name."""
    with _lock:
        return dict(_troubles)


def keep_going(
    log: logging.Logger,
    thread: str,
    work: Callable[[], None],
    stopping: threading.Event,
    max_pause_s: float = MAX_PAUSE_S,
) -> None:
    """Call `work` until it returns; after an error call it again, after a pause that grows.

    `work` is a thread's loop, which keeps what it works on in its owner. Once `stopping` is set it
    is called a last time, to end as it should.
    """
    errors = 0
    while True:
        began, was_stopping = time.monotonic(), stopping.is_set()
        try:
            work()
        except BaseException as error:  # of whatever kind: the thread must not end in silence
            note_trouble(log, thread, error)
        else:
            return
        if was_stopping:
            return
        errors = 1 if time.monotonic() - began > WELL_AFTER_S else errors + 1
        pause_s = min(max_pause_s, FIRST_PAUSE_S * 2.0 ** min(errors, 10))
        stopping.wait(random.uniform(0.5, 1.0) * pause_s)


def _forget_parents() -> None:
    """Start a forked child without troubles; another thread may have held the parent's lock."""
    global _lock, _troubles
    _lock, _troubles = threading.Lock(), {}


os.register_at_fork(after_in_child=_forget_parents)
