"""A thread that pulls one queue's messages for one consumer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare import delays, envelope, large
from cutmv.transports.cloudflare.api import full_jitter
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    NotFound,
    ObjectMissing,
    ObjectStoreError,
)
from cutmv.transports.cloudflare.leases import Lease
from cutmv.transports.cloudflare.prefetch import QoS
from cutmv.transports.cloudflare.publisher import Outgoing
from cutmv.transports.cloudflare.queues import Queue
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0


#: Seconds until a message comes again whose further delay was not accepted, or whose object
#: could not be read.
DEFER_AGAIN, READ_AGAIN = 10.0, 10.0


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a puller's messages, or the error that ends it, go."""

    put: Callable[[list[dict[str, Any]]], None]
    fail: Callable[[Exception], None]


class Puller:
    """Pulls as much as there is room for: at once while there is more, then ever more rarely.

    It lives through outages by itself, because a worker that reconnects forgets the tasks it
    has prefetched. What only people can mend (a refused token, a deleted queue) ends it, and
    goes to the loop, so that Celery reconnects and says so.
    """

    def __init__(self, name: str, queue: Queue, session: Session, qos: QoS, outlet: Outlet) -> None:
        self.stopped = False
        self.busy = False
        self._name = name
        self._queue = queue
        self._session = session
        self._qos = qos
        self._outlet = outlet
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"cloudflare-puller-{queue.name}", daemon=True
        )

    def start(self) -> None:
        """Start pulling."""
        self._session.settler.start()
        self._qos.join(self)
        self._thread.start()

    def stop(self) -> None:
        """Pull no more; what a pull under way brings goes back to the queue."""
        self.stopped = True
        self._stop.set()
        self._qos.wake()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    def give_back(self, messages: list[dict[str, Any]]) -> None:
        """Return messages that were pulled but not given to the consumer."""
        for message in messages:
            self._session.settler.retry(self.lease(message))

    def lease(self, message: dict[str, Any]) -> Lease:
        """Return the lease on a message this puller has brought."""
        tag = message["properties"]["delivery_tag"]
        return Lease(self._queue.queue_id, tag, large.key_of(message))

    def _run(self) -> None:
        try:
            self._pull_on()
        except CloudflareError as error:
            self._session.queues.forget(self._name)
            if not self.stopped:
                self._outlet.fail(error)
        except Exception as error:
            logger.exception("cloudflare: the puller of queue %r broke", self._name)
            self._outlet.fail(error)
        finally:
            self._qos.leave(self)

    def _pull_on(self) -> None:
        options = self._session.options
        pause = options.polling_interval_min
        failures = 0
        while room := self._qos.reserve(self):
            try:
                pulled = self._pull(room)
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
            messages = self._decode(pulled)
            self._qos.unreserve(room - len(messages))
            if self.stopped:
                self._qos.unreserve(len(messages))
                self.give_back(messages)
                return
            self.busy = bool(pulled)
            if messages:
                self._outlet.put(messages)
            if len(pulled) >= room:
                pause = options.polling_interval_min
                continue
            if pulled:
                pause = options.polling_interval_min
            self._stop.wait(random.uniform(pause / 2, pause))
            pause = min(pause * 2, options.polling_interval_max)

    def _pull(self, room: int) -> list[dict[str, Any]]:
        options = self._session.options
        deadline = time.monotonic() + options.request_timeout
        return self._session.client.pull(
            self._queue.queue_id, room, options.visibility_timeout, deadline
        )

    def _raise_if_final(self, error: CloudflareError) -> None:
        if isinstance(error, AccessDenied):
            raise error
        if not error.passing:
            raise NotFound(
                f"queue {self._name!r} can't be pulled from any more: {error}",
                status=error.status,
                code=error.code,
            ) from None

    def _decode(self, pulled: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Read what was pulled; what can't be read is removed from the queue, with a log line.

        What is not due yet is not among it: that waits on in the queue.
        """
        messages = []
        early: list[tuple[Lease, Outgoing]] = []
        references: list[large.Claim] = []
        now = time.time()
        for entry in pulled:
            try:
                message = envelope.decode(entry)
                due = delays.due_at(message)
                if delays.is_early(due, now):
                    text = self._session.large.renew(message, envelope.text_of(entry))
                    lease = Lease(self._queue.queue_id, entry["lease_id"])
                    early.append((lease, Outgoing(text, due)))
                elif large.is_reference(message):
                    references.append((entry, message))
                else:
                    messages.append(message)
            except (ValueError, TypeError, KeyError, ObjectStoreError) as error:
                self._refuse(entry, error)
        if early:
            self._defer(early)
        return messages + (self._read(references) if references else [])

    def _read(self, references: list[large.Claim]) -> list[dict[str, Any]]:
        """Fetch the messages that references stand for; here, where no loop waits for it."""
        messages = []
        for (entry, _), read in zip(references, self._session.large.read(references), strict=True):
            if isinstance(read, Exception):
                self._refuse(entry, read)
            else:
                messages.append(read)
        return messages

    def _refuse(self, entry: Mapping[str, Any], error: Exception) -> None:
        """Remove a message that can't be read; return one whose object may be read later."""
        lease = Lease(self._queue.queue_id, entry["lease_id"])
        which = (entry.get("id"), self._name, error)
        if isinstance(error, ObjectStoreError) and not isinstance(error, ObjectMissing):
            logger.warning("cloudflare: message %s of queue %r waits to be read: %s", *which)
            self._session.settler.retry(lease, READ_AGAIN)
        else:
            logger.error("cloudflare: message %s of queue %r is rejected: %s", *which)
            self._session.settler.ack(lease)

    def _defer(self, early: list[tuple[Lease, Outgoing]]) -> None:
        """Have messages wait on, as new ones, so that neither age nor attempts end them.

        The old ones are removed once the new ones are accepted: a crash in between leaves two
        of each, and loses none.
        """
        settler = self._session.settler
        try:
            self._session.publisher(self._name).publish([message for _, message in early])
        except CloudflareError as error:
            logger.warning("cloudflare: %d message(s) wait to be delayed: %s", len(early), error)
            for lease, _ in early:
                settler.retry(lease, DEFER_AGAIN)
        else:
            for lease, _ in early:
                settler.ack(lease)
