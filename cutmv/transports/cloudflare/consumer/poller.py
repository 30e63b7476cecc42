"""A thread that polls one queue, with its priority levels, for one consumer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.consumer.intake import Intake
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.edge import HubClient
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    NotFound,
    ThreadBroken,
)
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import QueueDirectory
from cutmv.transports.cloudflare.runtime import BackgroundThread, clock, full_jitter
from cutmv.transports.cloudflare.troubles import shown

logger = logging.getLogger(__name__)

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0

#: Seconds between pulls of an empty queue whose consumers the edge Worker's hub wakes up; and the
#: same while it is not known that a queue is empty whose backlog is 0 (`PullHabits`).
WATCHED_INTERVAL, DOUBTFUL_INTERVAL = 60.0, 5.0


class Poller:
    """Pulls as many messages as there is room for: at once while messages come, then less often.

    Where the hub wakes up the consumers of a queue, an empty queue is polled once a minute only. A
    queue that holds messages which can't be pulled yet is polled as without a hub: they are
    delayed, or another consumer has them, and the hub sends no wake-up when they are due. Until
    pulls have shown that backlogs count such messages, a queue that seems empty is polled each few
    seconds: its messages must not wait for a minute on a belief.

    The poller retries through outages, because a worker that reconnects forgets the tasks it has
    prefetched. An error that only an operator can mend (a refused token, a deleted queue) ends the
    thread and goes to `on_error`, so that Celery reconnects and logs it. So does an error that
    nobody expected, if the thread meets such errors again and again. `on_deliveries` receives the
    deliveries that the intakes admit.
    """

    def __init__(
        self,
        intakes: Sequence[Intake],
        *,
        client: Client,
        directory: QueueDirectory,
        acknowledger: Acknowledger,
        hub: HubClient | None,
        qos: QoS,
        options: Options,
        on_deliveries: Callable[[list[Delivery]], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        #: Whether the last pull brought messages, or the hub says that there are some.
        self.busy = False
        self._name = intakes[0].name
        self._intakes = intakes
        self._client = client
        self._directory = directory
        self._acknowledger = acknowledger
        self._hub = hub
        self._qos = qos
        self._options = options
        self._on_deliveries, self._on_error = on_deliveries, on_error
        self._wake_up = threading.Event()
        self._thread = BackgroundThread(
            f"poller-{intakes[0].queue.name}",
            self._run,
            self._look_at_once,
            on_hopeless=self._give_up,
        )

    @property
    def stopped(self) -> bool:
        """Whether the poller has been told to stop."""
        return self._thread.stopping.is_set()

    @property
    def ended(self) -> bool:
        """Whether the poller has stopped, and its thread has ended."""
        return self.stopped and not self._thread.alive

    def start(self) -> None:
        """Start pulling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop pulling; the messages of a pull under way go back to the queue."""
        self._thread.stop()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    def _look_at_once(self) -> None:
        self._wake_up.set()
        self._qos.wake()

    def _run(self) -> None:
        self._qos.join(self)
        try:
            with self._watched():
                self._pull_on()
        except CloudflareError as error:
            self._end_connection(error)
        finally:
            self._qos.leave(self)

    def _give_up(self, error: BaseException) -> None:
        line = f"queue {self._name!r} can't be pulled from: {shown(error)}"
        self._end_connection(ThreadBroken(line))
        self._thread.stop()

    def _end_connection(self, error: CloudflareError) -> None:
        for intake in self._intakes:
            self._directory.forget(intake.name)
        if not self.stopped:
            self._on_error(error)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Have the hub, if there is one, wake this thread up when messages are published."""
        hub, names = self._hub, [intake.queue.name for intake in self._intakes]
        if hub is None:
            yield
            return
        try:
            for name in names:
                hub.watch(name, self._wake_up.set)
            yield
        finally:
            for name in names:
                hub.unwatch(name, self._wake_up.set)

    def _pull_on(self) -> None:
        pause = self._options.polling_interval_min
        failures = 0
        while room := self._qos.reserve(self):
            started = clock()
            self._wake_up.clear()
            try:
                pulled, empty = self._pull(room)
            except CloudflareError as error:
                self._qos.unreserve(room)
                self._raise_if_final(error)
                failures += 1
                # One lost response is normal; the second in a row is an outage.
                level = {1: logging.DEBUG, 2: logging.WARNING}.get(failures)
                if level:
                    logger.log(level, "cloudflare: pulling from %r: %s", self._name, error)
                wait = full_jitter(failures, most=OUTAGE_PAUSE) + (error.retry_after or 0.0)
                self._thread.stopping.wait(wait)
                continue
            except BaseException:
                self._qos.unreserve(room)
                raise
            if failures > 1:
                logger.info("cloudflare: pulling from %r works again", self._name)
            failures = 0
            try:
                deliveries = self._admit(pulled, started)
            except BaseException:
                self._qos.unreserve(room)
                raise
            self._qos.unreserve(room - len(deliveries))
            if self.stopped:
                self._qos.give_back(deliveries)
                return
            self.busy = bool(pulled)
            if deliveries:
                self._on_deliveries(deliveries)
            if pulled:
                # Messages that arrived during this pull can be pulled already.
                pause = self._options.polling_interval_min
                continue
            # A message can be pulled only a moment after the hub's wake-up, so the first pulls
            # after it follow soon, too.
            settled = pause >= self._options.polling_interval_max
            quiet = settled and empty and self._is_watched()
            certain = self._client.habits.counts_unready
            watched = WATCHED_INTERVAL if certain else max(pause, DOUBTFUL_INTERVAL)
            wait = watched if quiet else random.uniform(pause / 2, pause)
            if self._wake_up.wait(wait):
                pause = self._options.polling_interval_min
                self.busy = True  # most likely
            else:
                pause = min(pause * 2, self._options.polling_interval_max)

    def _is_watched(self) -> bool:
        return self._hub is not None and self._hub.connected

    def _pull(self, room: int) -> tuple[list[tuple[Intake, list[dict[str, Any]]]], bool]:
        """Pull up to `room` messages, most urgent first; return whether the queues are empty."""
        try:
            return self._pull_levels(room)
        finally:
            self._qos.pulled(self)

    def _pull_levels(self, room: int) -> tuple[list[tuple[Intake, list[dict[str, Any]]]], bool]:
        pulled: list[tuple[Intake, list[dict[str, Any]]]] = []
        empty = True
        for intake in self._intakes:
            deadline = time.monotonic() + self._options.request_timeout
            try:
                answer = self._client.pull(
                    intake.queue.queue_id, room, intake.lease.seconds, deadline
                )
            except CloudflareError:
                if pulled:
                    break  # the pulled messages must not wait; the next round meets the error again
                raise
            empty = empty and answer.backlog == 0
            if answer.messages:
                pulled.append((intake, answer.messages))
                room -= len(answer.messages)
            if room <= 0 or self.stopped:
                break
        return pulled, empty

    def _admit(
        self, pulled: list[tuple[Intake, list[dict[str, Any]]]], began: float
    ) -> list[Delivery]:
        return [
            delivery
            for intake, entries in pulled
            for delivery in intake.admit(intake.pulled(entries, began))
        ]

    def _raise_if_final(self, error: CloudflareError) -> None:
        if isinstance(error, AccessDenied):
            raise error
        if not error.passing:
            raise NotFound(
                f"queue {self._name!r} can't be pulled from any more: {error}",
                status=error.status,
                code=error.code,
            ) from None
