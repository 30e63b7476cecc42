"""From whoever knows of progress to whoever watches a job, inside one process."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: The fields of a `task-progress` event, which is what travels between processes.
EVENT_FIELDS = ("uuid", "job_id", "stage", "percent", "fps", "speed", "eta_s", "out_time_s")


class Subscription:
    """The latest event of each step of one job that its subscriber has not taken yet.

    Only the latest counts, so a slow subscriber costs one event a step and no more.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Mapping[str, Any]] = {}
        self._changed = threading.Condition()

    def put(self, event: Mapping[str, Any]) -> None:
        """Add an event, in place of an earlier one of the same step."""
        with self._changed:
            self._latest[str(event["uuid"])] = event
            self._changed.notify()

    def take(self, timeout_s: float) -> list[Mapping[str, Any]]:
        """The events since the last take; waits up to `timeout_s` seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._latest), timeout_s)
            events, self._latest = list(self._latest.values()), {}
        return events


class Hub:
    """Hands each published event to the subscribers of its job.

    >>> with hub.subscribe(job_id) as subscription:
    ...     events = subscription.take(timeout_s=1.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: dict[str, set[Subscription]] = {}

    def publish(self, event: Mapping[str, Any]) -> None:
        """Hand `event` on; one that lacks its ids comes from a stranger and is dropped."""
        if not event.get("uuid") or not event.get("job_id"):
            return
        known = {field: event.get(field) for field in EVENT_FIELDS}
        with self._lock:
            for subscription in self._subscriptions.get(str(event["job_id"]), ()):
                subscription.put(known)

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """Collect the events of a job from here to the end of the block."""
        subscription = Subscription()
        with self._lock:
            self._subscriptions.setdefault(job_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[job_id].discard(subscription)
                if not self._subscriptions[job_id]:
                    del self._subscriptions[job_id]
