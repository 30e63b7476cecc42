"""Waits for results: they are pushed over the hub, and read where a push may have been lost.

Whoever waits says so at the Worker, by an operation that also returns the result if it is there.
From then on each new state of the task comes over the hub. Those that a broken connection may have
lost are read again: at each new connection, and now and then anyway.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from celery import states
from celery.result import ResultSet

from cutmv.backends.cloudflare.celery_parts import BaseConsumer
from cutmv.backends.cloudflare.connection import Connection
from cutmv.transports.cloudflare.errors import CloudflareError

#: Seconds after which a result that is waited for is read again, with and without the hub. The
#: Worker tells nobody who has not said for WATCH_S that he waits.
READ_EVERY, READ_EVERY_ALONE = 45.0, 1.0

#: Seconds for which a Worker may be away until who waits is told.
AWAY_FOR = 20.0

#: Seconds that a drain waits for the Worker at least.
SHORTEST_CALL = 0.5


class _Backend(Protocol):
    """What the consumer asks of its backend; see `CloudflareBackend`."""

    @property
    def connection(self) -> Connection: ...
    def watch(self, task_ids: Sequence[str], patience: float) -> list[dict[str, Any]]: ...
    def meta_of(self, value: str) -> dict[str, Any]: ...
    def task_id_of(self, key: str) -> str: ...


class ResultConsumer(BaseConsumer):
    """The results that a backend's users wait for. Threads share it."""

    backend: _Backend

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        #: When each result that is waited for was read last; 0 if it has to be.
        self._read_at: dict[str, float] = {}
        self._inbox: deque[tuple[str, str | None]] = deque()
        self._changed = threading.Condition()
        self._drains = 0  # that found something
        self._seen = threading.local()  # the drains of which a thread knows
        self._away_since: float | None = None
        self._listening = False

    # What Celery calls.

    def start(self, initial_task_id: str, **_: Any) -> None:
        """Wait for a result."""
        self.consume_from(initial_task_id)

    def consume_from(self, task_id: str) -> None:
        """Wait for a result, from the next drain on: a group's are asked for together."""
        self._own()
        self._read_at.setdefault(str(task_id), 0.0)

    def cancel_for(self, task_id: str) -> None:
        """Wait no longer. Never blocks, since the garbage collector may call it."""
        self._read_at.pop(str(task_id), None)

    def on_after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._reset()

    def on_wait_for_pending(self, result: Any, timeout: float | None = None, **_: Any) -> None:
        """Read what is waited for, so that what is there needs no push."""
        self._own()
        for task_id in _leaves(result):
            self._read_at[task_id] = 0.0
        self._read_due(AWAY_FOR if timeout is None else max(timeout, SHORTEST_CALL))

    def drain_events(self, timeout: float | None = None) -> None:
        """Take the news that come within `timeout` seconds; return as soon as there are some.

        Raises `TimeoutError` where the Worker does not answer, and a `CloudflareError` when that
        has lasted for `AWAY_FOR`.
        """
        self._own()
        seconds = 1.0 if timeout is None else timeout
        until = time.monotonic() + seconds
        if self._read_due(max(seconds, SHORTEST_CALL)):
            return
        self._listen()
        with self._changed:
            drains = getattr(self._seen, "drains", None)
            due = min(list(self._read_at.values()), default=until) + self._read_every()
            left = max(0.0, min(until, due) - time.monotonic())
            self._changed.wait_for(lambda: self._inbox or self._drains != drains, left)
            self._seen.drains = self._drains
            news = list(self._inbox)
            self._inbox.clear()
        self._act(news)

    # What the connection calls.

    def news(self, key: str, value: str | None) -> None:
        """Take a result's value, or learn that there is one to read."""
        with self._changed:
            self._inbox.append((key, value))
            self._changed.notify_all()

    def stale(self) -> None:
        """Learn that news may have been lost."""
        with self._changed:
            for task_id in list(self._read_at):
                self._again(task_id)
            self._drains += 1
            self._changed.notify_all()

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._reset()

    def _listen(self) -> None:
        if self._read_at and not self._listening:
            self.backend.connection.listen(self)
            self._listening = True

    def _read_every(self) -> float:
        return READ_EVERY if self.backend.connection.told else READ_EVERY_ALONE

    def _again(self, task_id: str) -> None:
        if task_id in self._read_at:
            self._read_at[task_id] = 0.0

    def _read_due(self, patience: float) -> bool:
        """Read the results that are due; return whether there are any."""
        now = time.monotonic()
        since = now - self._read_every()
        due = [task_id for task_id, at in list(self._read_at.items()) if at <= since]
        if not due:
            return False
        for task_id in due:
            if task_id in self._read_at:
                self._read_at[task_id] = now
        try:
            found = self.backend.watch(due, patience)
        except CloudflareError as error:
            for task_id in due:
                self._again(task_id)
            self._away_since = self._away_since or now
            if not error.passing or time.monotonic() - self._away_since > AWAY_FOR:
                raise
            raise TimeoutError(str(error)) from None
        self._away_since = None
        for meta in found:
            self._take(meta)
        self._drained(bool(found))
        return bool(found)

    def _act(self, news: Iterable[tuple[str, str | None]]) -> None:
        seen = False
        for key, value in news:
            task_id = self.backend.task_id_of(key)
            if task_id not in self._read_at:
                continue
            seen = True
            if value is None:
                self._again(task_id)  # too large to be pushed
            else:
                self._take(self.backend.meta_of(value))
        self._drained(seen)

    def _drained(self, seen: bool) -> None:
        """Have the other threads that wait look whether their results are there."""
        if seen:
            with self._changed:
                self._drains += 1
                self._changed.notify_all()

    def _take(self, meta: Mapping[str, Any]) -> None:
        self.on_state_change(meta, None)
        if meta["status"] in states.READY_STATES:
            self.cancel_for(meta["task_id"])
            # Whoever comes later reads the result, so what nobody waited for need not be kept.
            with contextlib.suppress(KeyError):
                kept = self._pending_messages.pop(meta["task_id"])
                self._pending_messages.total -= len(kept)


def _leaves(result: Any) -> Iterator[str]:
    """Yield the ids of a result's tasks that are not known to be ready."""
    if isinstance(result, ResultSet):
        for each in result.results or ():
            yield from _leaves(each)
    elif getattr(result, "_cache", None) is None:
        yield result.id
