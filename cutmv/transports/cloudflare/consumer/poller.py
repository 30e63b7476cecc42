"""A thread that pulls one queue's messages for one consumer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare.api.client import full_jitter
from cutmv.transports.cloudflare.consumer.intake import Admission
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.errors import AccessDenied, CloudflareError, NotFound
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0

#: Seconds between pulls of an empty queue for which the edge Worker's hub rings.
RUNG_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a puller's messages go, and the error that ends it."""

    put: Callable[[list[dict[str, Any]]], None]
    fail: Callable[[Exception], None]


class Puller:
    """Pulls as much as there is room for: at once while messages come, then ever more rarely.

    Where the hub rings for a queue, one that holds nothing is left in peace: what is published is
    rung for. One that holds messages which can't be pulled is not: they are delayed, or another
    consumer has them, and nothing rings when they are due.

    It lives through outages by itself, because a worker that reconnects forgets the tasks it
    has prefetched. What only people can mend (a refused token, a deleted queue) ends it, and
    goes to the loop, so that Celery reconnects and says so.
    """

    def __init__(
        self, sources: Sequence[Admission], session: Session, qos: QoS, outlet: Outlet
    ) -> None:
        self.stopped = False
        self.busy = False
        self._name = sources[0].name
        self._sources = sources
        self._session = session
        self._qos = qos
        self._outlet = outlet
        self._lease_seconds = 0.0
        self._stop = threading.Event()
        self._bell = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"cloudflare-puller-{sources[0].queue.name}", daemon=True
        )

    def start(self) -> None:
        """Start pulling; raises as `Session.start_consuming` does."""
        self._lease_seconds = self._session.start_consuming()
        self._qos.join(self)
        self._thread.start()

    def stop(self) -> None:
        """Pull no more; what a pull under way brings goes back to the queue."""
        self.stopped = True
        self._stop.set()
        self._bell.set()
        self._qos.wake()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    def give_back(self, messages: list[dict[str, Any]]) -> None:
        """Return messages that were pulled but not given to the consumer."""
        for message in messages:
            self._session.leases.retry(message["lease"])

    def _run(self) -> None:
        try:
            with self._rung_for():
                self._pull_on()
        except CloudflareError as error:
            for source in self._sources:
                self._session.queues.forget(source.name)
            if not self.stopped:
                self._outlet.fail(error)
        except Exception as error:
            logger.exception("cloudflare: the puller of queue %r broke", self._name)
            self._outlet.fail(error)
        finally:
            self._qos.leave(self)

    @contextmanager
    def _rung_for(self) -> Iterator[None]:
        """Have the hub, if there is one, ring for what is pulled."""
        hub, names = self._session.hub, [source.queue.name for source in self._sources]
        if hub is None:
            yield
            return
        try:
            for name in names:
                hub.watch(name, self._bell.set)
            yield
        finally:
            for name in names:
                hub.unwatch(name, self._bell.set)

    def _pull_on(self) -> None:
        options = self._session.options
        pause = options.polling_interval_min
        failures = 0
        while room := self._qos.reserve(self):
            started = time.monotonic()
            self._bell.clear()
            try:
                pulled, empty = self._pull(room)
            except CloudflareError as error:
                self._qos.unreserve(room)
                self._raise_if_final(error)
                failures += 1
                # One lost answer is everyday life; the second in a row is an outage.
                level = {1: logging.DEBUG, 2: logging.WARNING}.get(failures)
                if level:
                    logger.log(level, "cloudflare: pulling from %r: %s", self._name, error)
                wait = full_jitter(failures, most=OUTAGE_PAUSE) + (error.retry_after or 0.0)
                self._stop.wait(wait)
                continue
            except BaseException:
                self._qos.unreserve(room)
                raise
            if failures > 1:
                logger.info("cloudflare: pulling from %r works again", self._name)
            failures = 0
            until = started + self._lease_seconds
            messages = [each for source, got in pulled for each in source.admit(got, until)]
            self._qos.unreserve(room - len(messages))
            if self.stopped:
                self._qos.unreserve(len(messages))
                self.give_back(messages)
                return
            self.busy = bool(pulled)
            if messages:
                self._outlet.put(messages)
            if pulled:
                # What came while these were on their way waits already.
                pause = options.polling_interval_min
                continue
            # After a ring it may take a moment until a message can be pulled, so the first pulls
            # follow soon then, too.
            settled = pause >= options.polling_interval_max
            quiet = settled and empty and self._is_rung()
            wait = RUNG_INTERVAL if quiet else random.uniform(pause / 2, pause)
            if self._bell.wait(wait):
                pause = options.polling_interval_min
            else:
                pause = min(pause * 2, options.polling_interval_max)

    def _is_rung(self) -> bool:
        hub = self._session.hub
        return hub is not None and hub.connected

    def _pull(self, room: int) -> tuple[list[tuple[Admission, list[dict[str, Any]]]], bool]:
        """Pull what there is room for, the most urgent first; tell whether the queues are empty."""
        pulled: list[tuple[Admission, list[dict[str, Any]]]] = []
        empty = True
        for source in self._sources:
            deadline = time.monotonic() + self._session.options.request_timeout
            try:
                answer = self._session.client.pull(
                    source.queue.queue_id, room, self._lease_seconds, deadline
                )
            except CloudflareError:
                if pulled:
                    break  # what came must not wait; the next round meets the error again
                raise
            empty = empty and answer.backlog == 0
            if answer.messages:
                pulled.append((source, answer.messages))
                room -= len(answer.messages)
            if room <= 0 or self.stopped:
                break
        return pulled, empty

    def _raise_if_final(self, error: CloudflareError) -> None:
        if isinstance(error, AccessDenied):
            raise error
        if not error.passing:
            raise NotFound(
                f"queue {self._name!r} can't be pulled from any more: {error}",
                status=error.status,
                code=error.code,
            ) from None
