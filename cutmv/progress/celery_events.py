"""Progress as Celery's custom event `task-progress`: sent by workers, received by a web server."""

import logging
import random
import threading
from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.exceptions import KombuError

from cutmv.logs import Outage
from cutmv.progress.dropped import drop
from cutmv.progress.event import EVENT_TYPE, ProgressEvent
from cutmv.progress.feed import ProgressFeed
from cutmv.progress.outbox import Outbox
from cutmv.transports.cloudflare import keep_going, note_trouble

#: Seconds between kombu's checks whether the receiver is to end (its `safety_interval`).
STOP_CHECK_S = 1.0
#: Seconds of the longest wait before the receiver connects to the broker again.
MAX_BACKOFF_S = 15.0

log = logging.getLogger(__name__)


class EventSender(Outbox):
    """Sends events by the app's broker, in the name of the worker `hostname`."""

    def __init__(self, app: Celery, hostname: str | None) -> None:
        self._app, self._hostname = app, hostname
        super().__init__("event-sender")

    def deliver(self, events: list[ProgressEvent]) -> None:
        """See Outbox."""
        try:
            with self._app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
                for event in events:
                    dispatcher.send(EVENT_TYPE, retry=False, **event.to_wire())
        except Exception as error:
            if not _of_the_broker(self._app, error):
                raise
            # An event is a hint; the job store has the truth.
            log.debug("progress events were not sent: %s", type(error).__name__)
            drop(len(events))


class EventReceiver:
    """Receives events into a feed, in a thread, until it is closed.

    It works over any broker whose events cross processes. Events are hints: while the broker does
    not answer, watchers see what the job store knows.
    """

    def __init__(self, app: Celery, feed: ProgressFeed) -> None:
        self._app, self._feed = app, feed
        self._closing = threading.Event()
        self._receiver: Any = None
        self._outage = Outage(log, "the broker", "progress comes from the job store")
        self._thread = threading.Thread(target=self._run, name="event-receiver", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and its connection."""
        self._closing.set()
        if self._receiver is not None:
            self._receiver.should_stop = True
        self._thread.join(2 * STOP_CHECK_S)

    def _run(self) -> None:
        keep_going("event-receiver", self._receive, self._closing)

    def _receive(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                with self._app.connection_for_read() as connection:
                    connection.ensure_connection(max_retries=1)
                    failures = 0
                    self._outage.ended()
                    self._capture(connection)
            except Exception as error:  # the thread must go on, whatever the broker raises
                failures += 1
                if _of_the_broker(self._app, error):
                    self._outage.began(type(error).__name__)
                else:
                    note_trouble("event-receiver", error, "it connects again")
                backoff = min(MAX_BACKOFF_S, 0.5 * 2**failures)
                self._closing.wait(random.uniform(0.5, 1.0) * backoff)

    def _capture(self, connection: Connection) -> None:
        # The routing key keeps all other events of the workers away from us.
        self._receiver = receiver = self._app.events.Receiver(
            connection, handlers={EVENT_TYPE: self._take}, routing_key="task.progress"
        )
        receiver.should_stop = self._closing.is_set()
        receiver.capture(limit=None, timeout=None, wakeup=False)

    def _take(self, fields: Mapping[str, Any]) -> None:
        try:
            if event := ProgressEvent.from_wire(fields):
                self._feed.publish(event)
        except Exception as error:  # one event must not cost the connection
            note_trouble("event-receiver", error, "an event is dropped")
            drop(1)


def _of_the_broker(app: Celery, error: Exception) -> bool:
    """Whether an error says that the broker, or the network to it, failed."""
    if isinstance(error, KombuError | OSError):
        return True
    with app.connection_for_read() as connection:
        return isinstance(error, (*connection.connection_errors, *connection.channel_errors))
