"""Decides which received messages go to the ready queue, and which wait or become dead letters."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.consumer.dead_letters import DeadLetters
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    LedgerUnavailable,
    ObjectMissing,
    ObjectStoreError,
)
from cutmv.transports.cloudflare.leases import Acknowledger, Deadly, Delivery, LeaseLength
from cutmv.transports.cloudflare.messages import (
    ClaimChecks,
    Outgoing,
    Undecodable,
    claim_check,
    envelope,
    eta,
    expiry,
    poison,
)
from cutmv.transports.cloudflare.queues import MAX_RETRIES, Queue, QueueName
from cutmv.transports.cloudflare.runtime import in_parallel
from cutmv.transports.cloudflare.troubles import note_trouble, shown

logger = logging.getLogger(__name__)

#: Seconds until a message is delivered again after its further delay was not accepted, its object
#: could not be read, or the ledger could not tell whether another consumer has it.
INTAKE_RETRY_DELAY = 10.0

#: The same for one that met an error which nobody expected: at first, and at most. Each time counts
#: as a delivery, so that in the end Cloudflare moves it to the dead letters.
UNEXPECTED_RETRY_DELAY, UNEXPECTED_RETRY_DELAY_MAX = 10.0, 300.0

#: Deliveries with which a Celery worker may fail before the message is a dead letter.
MAX_REFUSALS = 5

#: Messages of a pull about which the ledger is asked concurrently.
LEDGER_READERS = 8

#: A delivery whose message can't be read, and why.
Unreadable = tuple[Delivery, str]

#: A delivery whose message waits on in its queue, and the new message that takes its place.
Deferred = tuple[Delivery, Outgoing]


class Intake:
    """Sorts the deliveries of one queue.

    `publish` publishes messages anew to a queue, and raises a `CloudflareError` where that fails.
    `on_lost` is called with a delivery whose message another consumer has taken over. `lease` is
    how long a pull of the queue leases messages for. `message_ttl` is for how many seconds a
    message may wait in the queue; none for any time. `adopt` makes a task of a message that no
    Celery has published, where it stands for one.
    """

    def __init__(
        self,
        name: QueueName,
        queue: Queue,
        *,
        acknowledger: Acknowledger,
        publish: Callable[[QueueName, Sequence[Outgoing]], None],
        claim_checks: ClaimChecks,
        dead_letters: DeadLetters,
        on_lost: Callable[[Delivery], None],
        lease: LeaseLength,
        message_ttl: float | None = None,
        adopt: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        self.name, self.queue, self.lease = name, queue, lease
        self._acknowledger = acknowledger
        self._publish = publish
        self._claim_checks, self._dead_letters = claim_checks, dead_letters
        self._on_lost = on_lost
        self._message_ttl, self.adopt = message_ttl, adopt
        self._allowed = MAX_RETRIES if queue.max_retries is None else queue.max_retries

    def pulled(self, entries: Sequence[Mapping[str, Any]], began: float) -> list[Delivery]:
        """Return the deliveries of a pull's entries; `began` is when its call began, by `clock`."""
        until = began + self.lease.seconds
        fresh = self.lease.seconds if self.lease.grows else 0.0
        return [Delivery.pulled(self.queue.queue_id, each, until, fresh) for each in entries]

    def admit(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries that go to the consumer, with their messages decoded.

        A message that is not due, or that another consumer still has, waits on in the queue. A
        message that can't be read becomes a dead letter. One that meets an error which nobody
        expected comes again later, and holds up no other. Calls Cloudflare, the ledger and the
        object store, so only threads that may block call it.
        """
        try:
            return self._admit(deliveries)
        except Exception as error:
            for each in deliveries:
                if not each.ended:
                    self._set_back(each, error)
            return []

    def _admit(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        unreadable: list[Unreadable] = []
        deferred: list[Deferred] = []
        read = self._those(deliveries, lambda each: self._read(each, unreadable))
        read = self._those(read, lambda each: not self._is_known(each))
        read = self._those(read, lambda each: not self._has_expired(each))
        now = time.time()
        due = self._those(read, lambda each: not self._postpone(each, now, deferred))
        due = self._those(due, lambda each: not self._outgrows(each))
        admitted = self._complete(self._untaken(due, deferred, unreadable), unreadable)
        if unreadable:
            self._dead_letters.move(self.queue, unreadable)
        if deferred:
            self._defer(deferred)
        return admitted

    def _those(
        self, deliveries: Sequence[Delivery], keep: Callable[[Delivery], bool]
    ) -> list[Delivery]:
        """Return the deliveries for which `keep` returns true; have those come again that it fails.

        An error about one message must not hold up the others.
        """
        kept = []
        for each in deliveries:
            try:
                if keep(each):
                    kept.append(each)
            except Exception as error:
                self._set_back(each, error)
        return kept

    def _refuse(self, delivery: Delivery, error: Exception) -> None:
        """Take back a message with which its consumer failed; called in the consumer's loop.

        One that can't be read becomes a dead letter; so does one that fails again and again.
        """
        unreadable = isinstance(error, Undecodable)
        if not unreadable and delivery.attempts < MAX_REFUSALS:
            self._set_back(delivery, error)
            return
        why = str(error) if unreadable else shown(error)
        self._dead_letters.add(self.queue, delivery, why)

    def _bury(self, delivery: Delivery) -> None:
        """Have a message that its consumer rejected moved to the dead letters; never blocks."""
        self._dead_letters.add(self.queue, delivery, "by its consumer")

    def _set_back(self, delivery: Delivery, error: Exception) -> None:
        """Have a message that met an error which nobody expected come again later."""
        often = min(delivery.attempts - 1, 16)
        delay = min(UNEXPECTED_RETRY_DELAY_MAX, UNEXPECTED_RETRY_DELAY * 2**often)
        message = f"message {delivery.entry.get('id')} comes again in {delay:.0f} s"
        note_trouble(f"intake of {self.name}", error, message)
        self._acknowledger.requeue(delivery, delay)

    def _read(self, delivery: Delivery, unreadable: list[Unreadable]) -> bool:
        """Decode a delivery's message from its entry; return whether that was possible."""
        try:
            delivery.entry = self.adopt(delivery.entry)
            delivery.message = envelope.decode(delivery.entry)
            poison.check(delivery.message)
        except (ValueError, TypeError, KeyError) as error:
            unreadable.append((delivery, str(error)))
            return False
        delivery.lease.key = envelope.identity(self.queue.name, delivery.entry, delivery.message)
        delivery.object_key = claim_check.key_of(delivery.message)
        delivery.on_lost, delivery.on_refused = self._on_lost, self._refuse
        delivery.on_rejected = self._bury
        return True

    def _is_known(self, delivery: Delivery) -> bool:
        """Return whether it brings a copy of a message that this process holds, or has done."""
        if self._acknowledger.adopt(delivery, self._allowed):
            logger.info("cloudflare: message %s is here; its copy waits", delivery.lease.key)
            return True
        if self._acknowledger.is_done(delivery):
            logger.info("cloudflare: message %s is done, and its copy removed", delivery.lease.key)
            self._acknowledger.ack(delivery)
            return True
        return False

    def _outgrows(self, delivery: Delivery) -> bool:
        """Have a message pulled again whose task may run for longer than its lease."""
        if self.lease.suits(celery_worker.enforced_limit(delivery.message), self.queue.name):
            return False
        self._acknowledger.requeue(delivery)
        return True

    def _has_expired(self, delivery: Delivery) -> bool:
        """Remove a message whose TTL is over; return whether it is."""
        expiry.limit(delivery.message, delivery.entry.get("timestamp_ms"), self._message_ttl)
        if not expiry.is_over(delivery.message):
            return False
        logger.debug("cloudflare: message %s of %r has expired", delivery.lease.key, self.name)
        self._acknowledger.ack(delivery)
        return True

    def _postpone(self, delivery: Delivery, now: float, deferred: list[Deferred]) -> bool:
        """Have the message wait if it is not due; return whether it waits."""
        due = eta.due_at(delivery.message)
        if not eta.is_early(due, now):
            return False
        try:
            text = self._claim_checks.renew(delivery.message, envelope.text_of(delivery.entry))
        except ObjectStoreError as error:
            self._read_again(delivery, error)
        else:
            deferred.append((delivery, Outgoing(text, due)))
        return True

    def _untaken(
        self,
        deliveries: list[Delivery],
        deferred: list[Deferred],
        unreadable: list[Unreadable],
    ) -> list[Delivery]:
        """Return the deliveries that no other consumer has; ask the ledger about repeated ones.

        A message becomes a dead letter when too many consumers were lost while they held it.
        Cloudflare does not count that far, since a message that waits is published anew past half
        of the deliveries that its queue allows.
        """
        if not self._acknowledger.has_ledger:
            return deliveries
        doubtful = [
            each
            for each in deliveries
            if self._acknowledger.may_be_repeated(each) or each.message.get(envelope.HELD_KEY)
        ]
        if not doubtful:
            return deliveries
        taken = in_parallel("ledger-reader", LEDGER_READERS, self._take, doubtful)
        answers = dict(zip(doubtful, taken, strict=True))

        def is_ours(delivery: Delivery) -> bool:
            wait = answers.get(delivery, 0.0)
            if wait == 0.0:
                return True
            delivery.owned = False
            if isinstance(wait, Deadly):
                unreadable.append((delivery, str(wait)))
            elif isinstance(wait, Exception):
                raise wait
            elif wait is None:
                self._acknowledger.ack(delivery)  # it is done
            else:
                self._put_back(delivery, wait, deferred)
            return False

        return self._those(deliveries, is_ours)

    def _take(self, delivery: Delivery) -> float | None:
        """Ask the ledger about a message; return what `Acknowledger.take` returns.

        Where the ledger does not answer, return the delay with which the message waits.
        """
        try:
            return self._acknowledger.take(delivery, self._allowed)
        except LedgerUnavailable as error:
            logger.warning("cloudflare: message %s waits: %s", delivery.lease.key, error)
            return INTAKE_RETRY_DELAY

    def _put_back(self, delivery: Delivery, wait: float, deferred: list[Deferred]) -> None:
        """Have a message that another consumer has wait in its queue.

        Cloudflare counts each delivery, and no longer delivers a message after as many as its queue
        allows. So past half of these the message is published anew; the ledger knows the copy by
        the publish's id.
        """
        if delivery.attempts <= self._allowed // 2:
            self._acknowledger.requeue(delivery, math.ceil(wait))
            return
        text = envelope.mark_held(envelope.text_of(delivery.entry))
        deferred.append((delivery, Outgoing(text, time.time() + math.ceil(wait))))

    def _complete(self, deliveries: list[Delivery], unreadable: list[Unreadable]) -> list[Delivery]:
        """Fetch the messages of object references, and have each lease extended from now on."""
        references = [each for each in deliveries if claim_check.is_reference(each.message)]
        read: dict[Delivery, dict[str, Any] | Exception] = {}
        if references:
            claims = [(each.entry, each.message) for each in references]
            read = dict(zip(references, self._claim_checks.read_all(claims), strict=True))

        def is_complete(delivery: Delivery) -> bool:
            message = read.get(delivery, delivery.message)
            if isinstance(message, ObjectMissing | Undecodable):
                unreadable.append((delivery, str(message)))
            elif isinstance(message, ObjectStoreError):
                self._read_again(delivery, message)
            elif isinstance(message, Exception):
                raise message
            else:
                held = bool(delivery.message.get(envelope.HELD_KEY))
                redelivered = held or self._acknowledger.seen_before(delivery)
                message["properties"]["delivery_info"]["redelivered"] = redelivered
                delivery.message = message
                return True
            return False

        complete = self._those(deliveries, is_complete)
        self._acknowledger.extend(*complete)
        return complete

    def _read_again(self, delivery: Delivery, error: ObjectStoreError) -> None:
        logger.warning(
            "cloudflare: message %s of queue %r waits to be read: %s",
            delivery.lease.key,
            self.name,
            error,
        )
        self._acknowledger.requeue(delivery, INTAKE_RETRY_DELAY)

    def _defer(self, deferred: list[Deferred]) -> None:
        """Publish messages that wait on anew, so that neither age nor attempts end them.

        The old messages are removed once the new ones are accepted: a crash in between leaves two
        of each, and loses none.
        """
        for delivery, _ in deferred:
            delivery.owned = False
        try:
            self._publish(self.name, [message for _, message in deferred])
        except CloudflareError as error:
            logger.warning("cloudflare: %d message(s) wait to be delayed: %s", len(deferred), error)
            for delivery, _ in deferred:
                self._acknowledger.requeue(delivery, INTAKE_RETRY_DELAY)
        except Exception as error:
            for delivery, _ in deferred:
                self._set_back(delivery, error)
        else:
            for delivery, _ in deferred:
                delivery.leave_to_copy()
                self._acknowledger.ack(delivery)
