"""Background threads that an owner ends and that outlive errors; pauses between retries."""

from __future__ import annotations

import logging
import os
import random
import re
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

#: First and longest pause (s) before a call is tried again; full jitter takes a random part of it.
BACKOFF_FIRST = 0.1
BACKOFF_MAX = 2.0

#: Longest pause (s) before a thread that met an unexpected error goes on with its work.
TROUBLE_PAUSE_MAX = 30.0

#: Seconds without an error after which a thread counts as well again.
WELL_AFTER = 60.0

#: Errors in a row after which a thread's owner is told that it does not recover by itself.
HOPELESS_AFTER = 5

#: Characters of an error's text that a report shows.
SHOWN_ERROR = 300

#: The parts of an error's text that may be a secret: a URL's password, a token.
_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=Bearer )[^\s'\"]+", re.IGNORECASE)


def full_jitter(attempt: int, first: float = BACKOFF_FIRST, most: float = BACKOFF_MAX) -> float:
    """Return the seconds to pause before retry number `attempt` (from 0)."""
    return random.uniform(0, min(most, first * 2 ** min(attempt, 16)))


def shown(error: BaseException) -> str:
    """Return an error's type and text in a line, without the secrets that it may hold."""
    text = _SECRETS.sub("***", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:SHOWN_ERROR]


class BackgroundThread:
    """A daemon thread that starts at the first need, once, and that its owner ends.

    `run` is its whole work: a loop that returns soon after `stopping` is set. `wake_up` has the
    loop check at once whether it has to stop or to flush; any thread may call it. `prepare` is
    called before the first start; an error that it raises keeps the thread from starting. Work
    without a loop needs neither, and no owner: the thread ends when the work is done.

    **No error ends the thread.** One that `run` raises is logged with its traceback and counted,
    and `run` is called again after a pause, which grows from one error to the next. So `run` keeps
    what it works on in its owner, and not in variables of its own. After `HOPELESS_AFTER` errors in
    a row `on_hopeless` is called with the last one, each time; its owner ends what depends on the
    thread.

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
        self._run, self._wake_up, self._prepare = run, wake_up, prepare
        self._on_hopeless = on_hopeless
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flushes: deque[threading.Event] = deque()
        self._errors_in_a_row = 0
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
        self.stopping.set()
        self._wake_up()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the thread's end, except in the thread itself."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

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
        while True:
            began, was_stopping = time.monotonic(), self.stopping.is_set()
            try:
                self._run()
            except BaseException as error:  # of whatever kind: the thread must not end in silence
                self._note(error, time.monotonic() - began)
            else:
                return
            if was_stopping:
                return  # the loop was called once more, to end as it should, and failed again
            self.stopping.wait(full_jitter(self._errors_in_a_row, most=TROUBLE_PAUSE_MAX))

    def _note(self, error: BaseException, ran: float) -> None:
        """Log and count an error that `run` raised after `ran` seconds; tell if it is hopeless."""
        logger.error(
            "cloudflare: the thread %s met an error that nobody expected, and goes on",
            self.name,
            exc_info=error,
        )
        self._errors_in_a_row = 1 if ran > WELL_AFTER else self._errors_in_a_row + 1
        note_trouble(self.name, error)
        if self._errors_in_a_row >= HOPELESS_AFTER and not self.stopping.is_set():
            self._on_hopeless(error)


#: The background threads of this process, until nobody has them any more.
_threads: weakref.WeakSet[BackgroundThread] = weakref.WeakSet()


class _Troubles:
    """The unexpected errors of this process: how many, and the last one of each of the last few."""

    #: Names that are kept; the one without an error for longest makes room.
    most = 20

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._count: Counter[str] = Counter()
        self._last: dict[str, tuple[float, str]] = {}
        self.total = 0

    def note(self, name: str, error: BaseException) -> None:
        with self._lock:
            self.total += 1
            self._count[name] += 1
            self._last.pop(name, None)
            self._last[name] = (time.monotonic(), shown(error))
            while len(self._last) > self.most:
                oldest = next(iter(self._last))
                del self._last[oldest], self._count[oldest]

    def report(self) -> dict[str, dict[str, Any]]:
        now = time.monotonic()
        with self._lock:
            return {
                name: {
                    "well": now - at > WELL_AFTER,
                    "errors": self._count[name],
                    "last_error": text,
                    "seconds_ago": round(now - at),
                }
                for name, (at, text) in self._last.items()
            }


_troubles = _Troubles()


def _forget_parents() -> None:
    """Start a forked child without troubles; another thread may have held the parent's lock."""
    _troubles.forget()
    _threads.clear()


os.register_at_fork(after_in_child=_forget_parents)


def note_trouble(name: str, error: BaseException) -> None:
    """Count an error that nobody expected, under the name of the thread or work that met it."""
    _troubles.note(name, error)


def threads_report() -> dict[str, Any]:
    """Return how this process's background threads are, as JSON.

    ``well`` is false for `WELL_AFTER` seconds after an unexpected error. ``troubled`` has the last
    error of each thread that ever met one.
    """
    troubled = _troubles.report()
    return {
        "well": all(each["well"] for each in troubled.values()),
        "running": sum(thread.alive for thread in list(_threads)),
        "errors": _troubles.total,
        "troubled": troubled,
    }
