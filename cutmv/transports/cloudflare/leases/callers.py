"""Threads that make calls for another thread, so that a call which hangs holds up no other."""

from __future__ import annotations

import queue
from collections.abc import Callable

from cutmv.transports.cloudflare.runtime import BackgroundThread

#: Calls made concurrently at most.
MAX_CALLERS = 32


class Callers:
    """Threads that run jobs: as many as there ever were at once. One thread submits the jobs.

    A job raises nothing. `close` ends the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[BackgroundThread] = []

    def start(self) -> None:
        """Start the first thread: a process that is about to exit can't start any."""
        if not self._threads:
            self._add()

    def submit(self, job: Callable[[], None], busy: int) -> None:
        """Run a job; `busy` is how many submitted before have not ended."""
        if busy >= len(self._threads) and len(self._threads) < MAX_CALLERS:
            self._add()
        self._jobs.put(job)

    def close(self, timeout: float) -> None:
        """End the threads, each within `timeout` seconds."""
        for thread in self._threads:
            thread.stop()
        for thread in self._threads:
            thread.join(timeout)

    def _add(self) -> None:
        thread = BackgroundThread(self._name, self._run, lambda: self._jobs.put(None))
        try:
            thread.start()
        except RuntimeError:  # the process exits; the threads that there are do the work
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
