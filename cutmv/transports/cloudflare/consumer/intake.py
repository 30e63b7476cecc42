"""Decides which received messages go to the ready queue, and which wait or become dead letters."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cutmv.transports.cloudflare.consumer.dead_letters import DeadLetters
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    LedgerUnavailable,
    ObjectMissing,
    ObjectStoreError,
)
from cutmv.transports.cloudflare.leases import Acknowledger, Deadly, Delivery
from cutmv.transports.cloudflare.messages import ClaimChecks, Outgoing, claim_check, envelope, eta
from cutmv.transports.cloudflare.queues import MAX_RETRIES, Queue, QueueName

logger = logging.getLogger(__name__)

#: Seconds until a message is delivered again after its further delay was not accepted, its object
#: could not be read, or the ledger could not tell whether another consumer has it.
INTAKE_RETRY_DELAY = 10.0

#: Messages of a pull about which the ledger is asked concurrently.
LEDGER_READERS = 8

#: A delivery whose message can't be read, and why.
Unreadable = tuple[Delivery, str]

#: A delivery whose message waits on in its queue, and the new message that takes its place.
Deferred = tuple[Delivery, Outgoing]


class Intake:
    """Sorts the deliveries of one queue.

    `publish` publishes messages anew to a queue, and raises a `CloudflareError` where that fails.
    `on_lost` is called with a delivery whose message another consumer has taken over.
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
    ) -> None:
        self.name = name
        self.queue = queue
        self._acknowledger = acknowledger
        self._publish = publish
        self._claim_checks = claim_checks
        self._dead_letters = dead_letters
        self._on_lost = on_lost
        self._allowed = MAX_RETRIES if queue.max_retries is None else queue.max_retries

    def admit(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries that go to the consumer, with their messages decoded.

        A message that is not due, or that another consumer still has, waits on in the queue. A
        message that can't be read becomes a dead letter. Calls Cloudflare, the ledger and the
        object store, so only threads that may block call it.
        """
        unreadable: list[Unreadable] = []
        deferred: list[Deferred] = []
        read = [each for each in deliveries if self._read(each, unreadable)]
        now = time.time()
        due = [each for each in read if not self._postpone(each, now, deferred)]
        admitted = self._complete(self._untaken(due, deferred, unreadable), unreadable)
        if unreadable:
            self._dead_letters.move(self.queue, unreadable)
        if deferred:
            self._defer(deferred)
        return admitted

    def _read(self, delivery: Delivery, unreadable: list[Unreadable]) -> bool:
        """Decode a delivery's message from its entry; return whether that was possible."""
        try:
            delivery.message = envelope.decode(delivery.entry)
        except (ValueError, TypeError, KeyError) as error:
            unreadable.append((delivery, str(error)))
            return False
        delivery.lease.key = delivery.message["properties"]["message_id"]
        delivery.object_key = claim_check.key_of(delivery.message)
        delivery.on_lost = self._on_lost
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
        doubtful = [
            each
            for each in deliveries
            if each.message["headers"]["x-delivery-count"] > 1
            or each.message.get(envelope.HELD_KEY)
        ]
        if not doubtful or not self._acknowledger.has_ledger:
            return deliveries
        workers = min(LEDGER_READERS, len(doubtful))
        with ThreadPoolExecutor(workers, "cloudflare-ledger-reader") as pool:
            answers = dict(zip(doubtful, pool.map(self._take, doubtful), strict=True))
        untaken = []
        for each in deliveries:
            wait = answers.get(each, 0.0)
            if wait == 0.0:
                untaken.append(each)
                continue
            each.owned = False
            if isinstance(wait, Deadly):
                unreadable.append((each, str(wait)))
            elif wait is None:
                self._acknowledger.ack(each)  # it is done
            else:
                self._put_back(each, wait, deferred)
        return untaken

    def _take(self, delivery: Delivery) -> float | Deadly | None:
        """Ask the ledger about a message; return what `Acknowledger.take` returns, or its `Deadly`.

        Where the ledger does not answer, return the delay with which the message waits.
        """
        try:
            return self._acknowledger.take(delivery, self._allowed)
        except Deadly as error:
            return error
        except LedgerUnavailable as error:
            logger.warning("cloudflare: message %s waits: %s", delivery.lease.key, error)
            return INTAKE_RETRY_DELAY

    def _put_back(self, delivery: Delivery, wait: float, deferred: list[Deferred]) -> None:
        """Have a message that another consumer has wait in its queue.

        Cloudflare counts each delivery, and no longer delivers a message after as many as its queue
        allows. So past half of these the message is published anew; the ledger knows the copy by
        the publisher's id.
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
        complete = []
        for each in deliveries:
            message = read.get(each, each.message)
            if isinstance(message, ObjectStoreError) and not isinstance(message, ObjectMissing):
                self._read_again(each, message)
            elif isinstance(message, Exception):
                unreadable.append((each, str(message)))
            else:
                each.message = message
                complete.append(each)
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
        else:
            for delivery, _ in deferred:
                delivery.leave_to_copy()
                self._acknowledger.ack(delivery)
