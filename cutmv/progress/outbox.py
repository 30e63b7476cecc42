"""Progress events on their way out of a process that has work to do."""

import logging
import threading
from abc import ABC, abstractmethod
from typing import Any

from celery import Celery

#: Seconds between two events of a step: 4 a second is what a person can follow.
PACE_S = 0.25
#: Seconds that closing waits for the last events to be delivered.
CLOSE_S = 2.0

log = logging.getLogger(__name__)


class Outbox(ABC):
    """Delivers events from a thread of its own, so that no task ever waits for it.

    Of each step only the latest event is delivered, at most one in PACE_S seconds. An end that
    does not answer costs the events, never the work: whoever watches finds the truth in the job
    store.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._latest: dict[str, dict[str, Any]] = {}
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    def deliver(self, events: list[dict[str, Any]]) -> None:
        """Deliver one event of each of some steps; must not raise. Called by the thread."""

    def send(self, event: dict[str, Any]) -> None:
        """Deliver `event` soon; returns at once."""
        with self._changed:
            self._latest[str(event["uuid"])] = event
            self._changed.notify()

    def close(self) -> None:
        """Deliver what is left, for a moment, then end the thread."""
        self.closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._latest or self.closing.is_set())
                events, self._latest = list(self._latest.values()), {}
            if not events:
                return
            self.deliver(events)
            self.closing.wait(PACE_S)


class EventSender(Outbox):
    """Sends `task-progress` events by the app's broker, in the name of the worker `hostname`."""

    def __init__(self, app: Celery, hostname: str | None) -> None:
        self._app, self._hostname = app, hostname
        super().__init__("event-sender")

    def deliver(self, events: list[dict[str, Any]]) -> None:
        """See Outbox."""
        try:
            with self._app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
                for event in events:
                    dispatcher.send("task-progress", retry=False, **event)
        except Exception as error:  # an event is a hint; the job store has the truth
            log.debug("progress events were not sent: %s", type(error).__name__)
