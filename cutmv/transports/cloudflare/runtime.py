"""Background threads that an owner ends, and pauses between retries."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable

#: First and longest pause (s) before a call is tried again; full jitter takes a random part of it.
BACKOFF_FIRST = 0.1
BACKOFF_MAX = 2.0


def full_jitter(attempt: int, first: float = BACKOFF_FIRST, most: float = BACKOFF_MAX) -> float:
    """Return the seconds to pause before retry number `attempt` (from 0)."""
    return random.uniform(0, min(most, first * 2 ** min(attempt, 16)))


class BackgroundThread:
    """A daemon thread that starts at the first need, once, and that its owner ends.

    `run` is its whole work: a loop that returns soon after `stopping` is set. `wake_up` has the
    loop check at once whether it has to stop or to flush; any thread may call it. `prepare` is
    called before the first start; an error that it raises keeps the thread from starting. Work
    without a loop needs neither, and no owner: the thread ends when the work is done.

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
    ) -> None:
        self.name = f"cloudflare-{name}"
        #: Set once the thread has to end.
        self.stopping = threading.Event()
        self._run, self._wake_up, self._prepare = run, wake_up, prepare
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flushes: deque[threading.Event] = deque()

    @property
    def started(self) -> bool:
        """Whether the thread was ever started."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread, unless it was started before; raises as `prepare` does."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._prepare()
                thread = threading.Thread(target=self._run, name=self.name, daemon=True)
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
        thread = self._thread
        if thread is None or not thread.is_alive():
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
