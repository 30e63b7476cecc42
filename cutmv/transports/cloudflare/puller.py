"""A thread that pulls one queue's messages for one consumer."""

from __future__ import annotations

import functools
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare import delays, envelope, large
from cutmv.transports.cloudflare.api import full_jitter
from cutmv.transports.cloudflare.deadletters import bury
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    LedgerUnavailable,
    NotFound,
    ObjectMissing,
    ObjectStoreError,
)
from cutmv.transports.cloudflare.keeper import Keeper
from cutmv.transports.cloudflare.leases import Lease
from cutmv.transports.cloudflare.names import Named
from cutmv.transports.cloudflare.prefetch import QoS
from cutmv.transports.cloudflare.publisher import Outgoing
from cutmv.transports.cloudflare.queues import MAX_RETRIES, Queue
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0


#: Seconds until a message comes again whose further delay was not accepted, or of which the
#: ledger could not tell whether somebody has it.
DEFER_AGAIN = 10.0

#: Seconds until a message comes again whose object could not be read.
READ_AGAIN = 10.0


#: An entry of a pull's answer, and why it can't be read.
Unreadable = tuple[Mapping[str, Any], str]


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a puller's messages go, the error that ends it, and the leases that are lost."""

    put: Callable[[list[dict[str, Any]]], None]
    fail: Callable[[Exception], None]
    lose: Callable[[Lease], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where to pull from: a queue, or one of its bands of priorities."""

    name: Named
    queue: Queue


class Puller:
    """Pulls as much as there is room for: at once while messages come, then ever more rarely.

    It lives through outages by itself, because a worker that reconnects forgets the tasks it
    has prefetched. What only people can mend (a refused token, a deleted queue) ends it, and
    goes to the loop, so that Celery reconnects and says so.
    """

    def __init__(
        self, sources: Sequence[Source], session: Session, qos: QoS, outlet: Outlet
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

    def _pull_on(self) -> None:
        options = self._session.options
        pause = options.polling_interval_min
        failures = 0
        while room := self._qos.reserve(self):
            started = time.monotonic()
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
            until = started + self._lease_seconds
            messages = [
                message
                for source, entries in pulled
                for message in self._decode(source, entries, until)
            ]
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
            self._stop.wait(random.uniform(pause / 2, pause))
            pause = min(pause * 2, options.polling_interval_max)

    def _pull(self, room: int) -> list[tuple[Source, list[dict[str, Any]]]]:
        """Pull what there is room for, the most urgent first."""
        pulled: list[tuple[Source, list[dict[str, Any]]]] = []
        for source in self._sources:
            deadline = time.monotonic() + self._session.options.request_timeout
            try:
                entries = self._session.client.pull(
                    source.queue.queue_id, room, self._lease_seconds, deadline
                )
            except CloudflareError:
                if pulled:
                    break  # what came must not wait; the next round meets the error again
                raise
            if entries:
                pulled.append((source, entries))
                room -= len(entries)
            if room <= 0 or self.stopped:
                break
        return pulled

    def _raise_if_final(self, error: CloudflareError) -> None:
        if isinstance(error, AccessDenied):
            raise error
        if not error.passing:
            raise NotFound(
                f"queue {self._name!r} can't be pulled from any more: {error}",
                status=error.status,
                code=error.code,
            ) from None

    def _decode(
        self, source: Source, pulled: list[dict[str, Any]], until: float
    ) -> list[dict[str, Any]]:
        """Read what was pulled; what can't be read goes to the dead letters, with a log line.

        Each message has its lease, which ends at `until`, as ``lease``. What is not due yet, or
        what another consumer still has, is not among them: that waits on in the queue.
        """
        keeper = self._session.keeper
        messages: list[dict[str, Any]] = []
        references: list[large.Claim] = []
        unreadable: list[Unreadable] = []
        early: list[tuple[Lease, Outgoing]] = []
        now = time.time()
        for entry in pulled:
            lease = Lease(source.queue.queue_id, entry["lease_id"], until=until)
            try:
                message = envelope.decode(entry)
                message["lease"] = lease
                lease.key = message["properties"]["message_id"]
                lease.on_lost = functools.partial(self._outlet.lose, lease)
                due = delays.due_at(message)
                if delays.is_early(due, now):
                    text = self._session.large.renew(message, envelope.text_of(entry))
                    early.append((lease, Outgoing(text, due)))
                elif keeper is not None and not self._is_ours(
                    source, keeper, entry, message, early
                ):
                    continue
                elif large.is_reference(message):
                    references.append((entry, message))
                else:
                    messages.append(message)
            except (ValueError, TypeError, KeyError, ObjectStoreError) as error:
                unreadable += self._unread(entry, lease, error)
        if references:
            self._read(references, messages, unreadable)
        if keeper is not None:
            for message in messages:
                keeper.track(message["lease"])
        if unreadable:
            bury(self._session, source.queue, unreadable)
        if early:
            self._defer(source, early)
        return messages

    def _is_ours(
        self,
        source: Source,
        keeper: Keeper,
        entry: Mapping[str, Any],
        message: dict[str, Any],
        early: list[tuple[Lease, Outgoing]],
    ) -> bool:
        """Tell whether nobody else has, or had, the message; else have it removed or wait."""
        if message["headers"]["x-delivery-count"] <= 1 and not message.get(envelope.HELD):
            return True
        lease: Lease = message["lease"]
        wait = self._take(keeper, lease)
        if wait is None:
            lease.object_key = large.key_of(message)
            self._session.settler.ack(lease)
        elif wait:
            early += self._put_back(source, entry, lease, wait)
        return wait == 0

    def _read(
        self,
        references: list[large.Claim],
        messages: list[dict[str, Any]],
        unreadable: list[Unreadable],
    ) -> None:
        """Fetch the messages that references stand for; here, where no loop waits for it."""
        found = self._session.large.read_all(references)
        for (entry, reference), read in zip(references, found, strict=True):
            lease: Lease = reference["lease"]
            if isinstance(read, Exception):
                unreadable += self._unread(entry, lease, read)
            else:
                lease.object_key = large.key_of(reference)
                messages.append({**read, "lease": lease})

    def _unread(self, entry: Mapping[str, Any], lease: Lease, error: Exception) -> list[Unreadable]:
        """Return the message as unreadable, or to its queue where its object may be read later."""
        if not isinstance(error, ObjectStoreError) or isinstance(error, ObjectMissing):
            return [(entry, str(error))]
        logger.warning(
            "cloudflare: message %s of queue %r waits to be read: %s",
            entry.get("id"),
            self._name,
            error,
        )
        self._session.leases.retry(lease, READ_AGAIN)
        return []

    def _take(self, keeper: Keeper, lease: Lease) -> float | None:
        """Ask the ledger for a message that may be another's; see `Keeper.take`."""
        try:
            return keeper.take(lease)
        except LedgerUnavailable as error:
            logger.warning("cloudflare: message %s waits: %s", lease.key, error)
            return DEFER_AGAIN

    def _put_back(
        self, source: Source, entry: Mapping[str, Any], lease: Lease, wait: float
    ) -> list[tuple[Lease, Outgoing]]:
        """Have a message wait that another consumer has, and return it if as a new one.

        Each delivery counts, and what was delivered `max_retries` times is dropped. So past half of
        that a message goes on as a new one, whose copy the ledger knows by its id.
        """
        retries = source.queue.max_retries
        allowed = MAX_RETRIES if retries is None else retries
        if int(entry.get("attempts") or 1) <= allowed // 2:
            self._session.settler.retry(lease, math.ceil(wait))
            return []
        text = envelope.mark_held(envelope.text_of(entry))
        return [(lease, Outgoing(text, time.time() + math.ceil(wait)))]

    def _defer(self, source: Source, early: list[tuple[Lease, Outgoing]]) -> None:
        """Have messages wait on, as new ones, so that neither age nor attempts end them.

        The old ones are removed once the new ones are accepted: a crash in between leaves two
        of each, and loses none.
        """
        settler = self._session.settler
        try:
            self._session.publisher(source.name).publish([message for _, message in early])
        except CloudflareError as error:
            logger.warning("cloudflare: %d message(s) wait to be delayed: %s", len(early), error)
            for lease, _ in early:
                settler.retry(lease, DEFER_AGAIN)
        else:
            for lease, _ in early:
                settler.ack(lease)
