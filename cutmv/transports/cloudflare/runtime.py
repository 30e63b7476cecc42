"""Background threads that an owner ends and that outlive errors; pauses; a clock for leases."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from cutmv.transports.cloudflare import troubles
from cutmv.transports.cloudflare.troubles import note_trouble

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: First and longest pause (s) before a call is tried again; full jitter takes a random part of it.
BACKOFF_FIRST = 0.1
BACKOFF_MAX = 2.0

#: Longest pause (s) before a thread that met an unexpected error goes on with its work.
TROUBLE_PAUSE_MAX = 30.0

#: Errors in a row after which a thread's owner is told that it does not recover by itself.
HOPELESS_AFTER = 5


def full_jitter(attempt: int, first: float = BACKOFF_FIRST, most: float = BACKOFF_MAX) -> float:
    """Return the seconds to pause before retry number `attempt` (from 0)."""
    return random.uniform(0, min(most, first * 2 ** min(attempt, 16)))


#: A clock that goes on while the machine sleeps; `time.monotonic` stands still on Linux and macOS.
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)
if _BOOT_CLOCK is None and sys.platform == "darwin":
    _BOOT_CLOCK = time.CLOCK_MONOTONIC


def clock() -> float:
    """Return seconds that count a machine's sleep, as leases do: Cloudflare's clock does not stop.

    Like `time.monotonic` it has no known start and is never set back. The two can't be compared.
    """
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


def keep_going(
    name: str,
    work: Callable[[], None],
    stopping: threading.Event,
    pause_most: float | None = None,
    note: Callable[[BaseException], int] | None = None,
) -> None:
    """Call `work` until it returns; after an error call it again, after a pause that grows.

    `work` is a thread's loop, which keeps what it works on in its owner. An error is logged and
    counted under `name`, one of few names, or by `note`, which returns how many came in a row. The
    pause takes `pause_most` seconds at most. Once `stopping` is set `work` is called a last time,
    to end as it should.
    """
    while True:
        was_stopping = stopping.is_set()
        try:
            work()
        except BaseException as error:  # of whatever kind: the thread must not end in silence
            in_a_row = note(error) if note else note_trouble(name, error, "it goes on")
        else:
            return
        if was_stopping:
            return
        most = TROUBLE_PAUSE_MAX if pause_most is None else pause_most
        stopping.wait(full_jitter(in_a_row, most=most))


class BackgroundThread:
    """A daemon thread that starts at the first need, once, and that its owner ends.

    `run` is its whole work: a loop that returns soon after `stopping` is set. `wake_up` has the
    loop check at once whether it has to stop or to flush; any thread may call it. `prepare` is
    called before the first start; an error that it raises keeps the thread from starting.

    **No error ends the thread.** One that `run` raises is logged with its traceback and counted,
    and `run` is called again after a pause, which grows from one error to the next. So `run` keeps
    what it works on in its owner, and not in variables of its own. After `HOPELESS_AFTER` errors in
    a row, and after twice, four times … as many, `on_hopeless` is called with the last one; its
    owner ends what depends on the thread. A new thread of the same name goes on counting, so that
    an error which a new connection does not help against ends fewer and fewer connections. Work
    that is done once, and needs no loop and no owner, has `run_aside`.

    ::

        thread = BackgroundThread("reader", self._run, self._change.notify)
        thread.start()
        ...
        thread.close(timeout=5.0)
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], None],
        wake_up: Callable[[], object] = lambda: None,
        prepare: Callable[[], None] = lambda: None,
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        self.name = f"cloudflare-{name}"
        #: Set once the thread has to end.
        self.stopping = threading.Event()
        self._stopped_at = math.inf
        self._run, self._wake_up, self._prepare = run, wake_up, prepare
        self._on_hopeless = on_hopeless
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flushes: deque[threading.Event] = deque()
        _threads.add(self)

    @property
    def started(self) -> bool:
        """Whether the thread was ever started."""
        return self._thread is not None

    @property
    def alive(self) -> bool:
        """Whether the thread runs, or waits to go on after an error."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread, unless it was started before; raises as `prepare` does."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._prepare()
                thread = threading.Thread(target=self._supervise, name=self.name, daemon=True)
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Have the thread end soon, without waiting for it."""
        self._stopped_at = min(self._stopped_at, time.monotonic())
        self.stopping.set()
        self._wake_up()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, except in the thread itself.

        It has `timeout` seconds from when it was told to stop, so that threads which were stopped
        together take no longer than one of them; else from now.
        """
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            since = max(0.0, time.monotonic() - self._stopped_at)
            thread.join(max(0.0, timeout - since))

    def close(self, timeout: float) -> None:
        """Stop the thread and wait up to `timeout` seconds for its end."""
        self.stop()
        self.join(timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until the loop has done all the work that it has now; return whether it did in time.

        The loop takes part by `flush_requests`. Returns false at once if the thread does not run.
        """
        if not self.alive:
            return False
        dealt_with = threading.Event()
        self._flushes.append(dealt_with)
        self._wake_up()
        return dealt_with.wait(timeout)

    def flush_requests(self) -> list[threading.Event]:
        """Return the events that the callers of `flush` wait for; the loop sets each one.

        The loop calls this before it takes the work that it was handed, so that this work includes
        everything that a caller handed over before its `flush`.
        """
        return [self._flushes.popleft() for _ in range(len(self._flushes))]

    def _supervise(self) -> None:
        keep_going(self.name, self._work, self.stopping, note=self.note)

    def _work(self) -> None:
        if self.stopping.is_set():
            self._wake_up()  # the wake-up of `stop` may have been taken before an error
        self._run()

    def note(self, error: BaseException, what_now: str = "it goes on") -> int:
        """Log and count an error that nobody expected; tell if the thread does not recover.

        `what_now` says how it goes on. Returns how many there were in a row.
        """
        in_a_row = note_trouble(self.name, error, what_now)
        turns, rest = divmod(in_a_row, HOPELESS_AFTER)
        if not rest and turns.bit_count() == 1 and not self.stopping.is_set():
            self._on_hopeless(error)
        return in_a_row


#: The background threads of this process, until nobody has them any more.
_threads: weakref.WeakSet[BackgroundThread] = weakref.WeakSet()
os.register_at_fork(after_in_child=_threads.clear)


def in_parallel(
    name: str, most: int, act: Callable[[_Item], _Result], items: Iterable[_Item]
) -> list[_Result | Exception]:
    """Call `act` for each item, up to `most` at a time; return its results, or what it raised.

    The caller's thread takes part, and does it all where no thread can be started (at the exit of
    the interpreter, say).
    """
    todo = deque(enumerate(items))
    done: list[_Result | Exception] = [RuntimeError("its thread was ended")] * len(todo)

    def work() -> None:
        while True:
            try:
                index, item = todo.popleft()
            except IndexError:
                return
            try:
                done[index] = act(item)
            except Exception as error:
                done[index] = error

    helpers: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):
        for _ in range(min(most, len(todo)) - 1):
            helpers.append(run_aside(name, work))
    work()
    for helper in helpers:
        helper.join()
    return done


def each_in_parallel(
    name: str, most: int, act: Callable[[_Item], object], items: Iterable[_Item]
) -> None:
    """Call `act` for each item, as `in_parallel` does; then raise the first error, if any."""
    for outcome in in_parallel(name, most, act, items):
        if isinstance(outcome, Exception):
            raise outcome


def run_aside(name: str, work: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread that does `work` once; an unexpected error is logged and counted."""

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            note_trouble(thread.name, error, "its work is left undone")

    thread = threading.Thread(target=guarded, name=f"cloudflare-{name}", daemon=True)
    thread.start()
    return thread


def threads_report() -> dict[str, Any]:
    """Return how this process's background threads are, and what `troubles.report` tells."""
    return {**troubles.report(), "running": sum(thread.alive for thread in list(_threads))}
