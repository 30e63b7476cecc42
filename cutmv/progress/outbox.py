"""The outbox of a worker: sends progress events from a thread, so that no task waits for it."""

import threading
from abc import ABC, abstractmethod

from cutmv.progress.event import ProgressEvent
from cutmv.transports.cloudflare import keep_going

#: Seconds between two events of a step: 4 a second is what a person can follow.
PACE_S = 0.25
#: Seconds that closing waits for the last events to be delivered.
CLOSE_S = 2.0


class Outbox(ABC):
    """Delivers events from a thread of its own; a subclass says where to.

    Of each step only the latest event is delivered, at most one in PACE_S seconds. A receiver that
    does not answer costs the events and never the work: whoever watches a job finds the truth in
    the job store.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._latest: dict[str, ProgressEvent] = {}
        self.closing = threading.Event()
        self._name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def deliver(self, events: list[ProgressEvent]) -> None:
        """Deliver one event of each of some steps. The thread calls it.

        An error that it raises costs these events, and counts as one that nobody expected.
        """

    def send(self, event: ProgressEvent) -> None:
        """Deliver `event` soon; returns at once."""
        with self._changed:
            self._latest[event.step_id] = event
            self._changed.notify()

    def close(self) -> None:
        """Deliver the events that are left, for CLOSE_S seconds at most, then end the thread."""
        self.closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        keep_going(self._name, self._deliver_all, self.closing)

    def _deliver_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._latest or self.closing.is_set())
                events, self._latest = list(self._latest.values()), {}
            if not events:
                return
            self.deliver(events)
            self.closing.wait(PACE_S)
