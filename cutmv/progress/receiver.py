"""Celery's `task-progress` events from the broker into a hub."""

import logging
import random
import threading
from typing import Any

from celery import Celery
from kombu import Connection

from cutmv.progress.hub import Hub

#: Seconds between kombu's looks at whether to end (its `safety_interval`).
CAPTURE_S = 1.0
#: Seconds of the longest wait before the broker is asked again.
MAX_BACKOFF_S = 15.0

log = logging.getLogger(__name__)


class EventReceiver:
    """Receives events in a thread until closed, over any broker whose events cross processes.

    Events are hints: while the broker is away, watchers see what the job store knows.
    """

    def __init__(self, app: Celery, hub: Hub) -> None:
        self._app, self._hub = app, hub
        self._closing = threading.Event()
        self._receiver: Any = None
        self._thread = threading.Thread(target=self._run, name="event-receiver", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and its connection."""
        self._closing.set()
        if self._receiver is not None:
            self._receiver.should_stop = True
        self._thread.join(2 * CAPTURE_S)

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                with self._app.connection_for_read() as connection:
                    connection.ensure_connection(max_retries=1)
                    failures = 0
                    self._capture(connection)
            except Exception as error:  # it must not end the thread: see the class
                failures += 1
                level = logging.WARNING if failures == 1 else logging.DEBUG
                log.log(level, "progress events are not received: %s", type(error).__name__)
                backoff = min(MAX_BACKOFF_S, 0.5 * 2**failures)
                self._closing.wait(random.uniform(0.5, 1.0) * backoff)

    def _capture(self, connection: Connection) -> None:
        handlers = {"task-progress": self._hub.publish}
        # By its key: a broker should not send us what else happens in its workers.
        self._receiver = receiver = self._app.events.Receiver(
            connection, handlers=handlers, routing_key="task.progress"
        )
        receiver.should_stop = self._closing.is_set()
        receiver.capture(limit=None, timeout=None, wakeup=False)
