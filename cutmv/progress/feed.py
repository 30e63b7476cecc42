"""The progress feed: hands progress events to those who watch a job, inside one process."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from cutmv.progress.event import ProgressEvent


class FeedSubscriber:
    """The latest event of each step, of one job or of all, that the subscriber has not taken yet.

    Only the latest event of a step is kept, so a slow subscriber holds one event a step at most.
    """

    def __init__(self) -> None:
        self._latest: dict[str, ProgressEvent] = {}
        self._changed = threading.Condition()

    def put(self, event: ProgressEvent) -> None:
        """Keep `event`, in place of an earlier one of the same step."""
        with self._changed:
            self._latest[event.step_id] = event
            self._changed.notify()

    def take(self, timeout_s: float) -> list[ProgressEvent]:
        """The events since the last take; waits up to `timeout_s` seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._latest), timeout_s)
            events, self._latest = list(self._latest.values()), {}
        return events


class ProgressFeed:
    """Hands each published event to the subscribers of its job. Threads may share it.

    >>> with feed.subscribe(job_id) as subscriber:
    ...     events = subscriber.take(timeout_s=1.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By their job; those of all jobs by None.
        self._subscribers: dict[str | None, set[FeedSubscriber]] = {}

    def publish(self, event: ProgressEvent) -> None:
        """Hand `event` to whoever watches its job now."""
        with self._lock:
            for job_id in (event.job_id, None):
                for subscriber in self._subscribers.get(job_id, ()):
                    subscriber.put(event)

    def subscribe(self, job_id: str) -> AbstractContextManager[FeedSubscriber]:
        """Collect the events of a job from here to the end of the block."""
        return self._subscribe(job_id)

    def subscribe_all(self) -> AbstractContextManager[FeedSubscriber]:
        """Collect the events of all jobs from here to the end of the block."""
        return self._subscribe(None)

    @contextmanager
    def _subscribe(self, job_id: str | None) -> Iterator[FeedSubscriber]:
        subscriber = FeedSubscriber()
        with self._lock:
            self._subscribers.setdefault(job_id, set()).add(subscriber)
        try:
            yield subscriber
        finally:
            with self._lock:
                self._subscribers[job_id].discard(subscriber)
                if not self._subscribers[job_id]:
                    del self._subscribers[job_id]
