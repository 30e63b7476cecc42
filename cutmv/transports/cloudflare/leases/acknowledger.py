"""The only code that acks, requeues or rejects a message, or extends its lease."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.leases.ack_batcher import SLOW_AFTER, AckBatcher, Ending
from cutmv.transports.cloudflare.leases.delivery import Delivery
from cutmv.transports.cloudflare.leases.finished import FinishedMessages
from cutmv.transports.cloudflare.leases.first_deliveries import FirstDeliveries
from cutmv.transports.cloudflare.leases.ledger import Ledger
from cutmv.transports.cloudflare.leases.renewer import LeaseRenewer
from cutmv.transports.cloudflare.runtime import clock

logger = logging.getLogger(__name__)

#: Part of a lease for which a call may last before the acks in it are noted in the ledger.
SLOW_PART = 1 / 8


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """The endings that Cloudflare has not accepted, and the deliveries of all that is done."""

    endings: list[Ending]
    finished: list[Delivery]


class Acknowledger:
    """Ends deliveries, each once. Threads share it; its owner closes it.

    **The ledger comes first.** Where there is a ledger, a delivery is ended there first, and then
    at Cloudflare, if the ledger has this process's record of it, or if its lease is over: another
    consumer may have taken the message meanwhile, and then this process does not end it. Any other
    delivery is ended at Cloudflare alone: no other consumer can have a message whose lease is not
    over, and a process writes no records of messages it does not own.

    **What is done does not run again** while Cloudflare does not accept its ack. Its first failure
    has the ledger note that the message is done; this process removes a copy that comes back to it.

    `ack`, `requeue` and `reject` only hand the delivery over. They neither block nor take a lock,
    since a weak reference's callback may call them in any thread that collects garbage.

    `linger` is how many seconds an ack waits for others to share its call. `discard` receives the
    keys of objects whose messages are gone. `open_ledger` returns the ledger, whose records count
    for `lease_seconds`, or none where there is no ledger; it is called once. `on_hopeless` is
    called where a thread does not recover from errors that nobody expected: then nothing more
    should be consumed.
    """

    def __init__(
        self,
        client: Client,
        linger: float,
        discard: Callable[[Sequence[str]], None] = lambda _: None,
        open_ledger: Callable[[], Ledger | None] = lambda: None,
        lease_seconds: float = 0.0,
        *,
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        self._discard = discard
        self._open_ledger = open_ledger
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._opened = False
        self._renewer: LeaseRenewer | None = None
        self._held: dict[str, Delivery] = {}  # the one delivery of each message that is here
        self._finished = FinishedMessages()
        self._first_deliveries = FirstDeliveries(lease_seconds)
        self._overran = False
        self._on_hopeless = on_hopeless
        self._batcher = AckBatcher(
            client,
            linger,
            discard,
            on_settled=self._finished.settle,
            on_trouble=self._note_done,
            on_hopeless=on_hopeless,
            slow_after=min(SLOW_AFTER, lease_seconds * SLOW_PART or SLOW_AFTER),
        )

    @property
    def has_ledger(self) -> bool:
        """Whether a ledger extends leases, and shows which messages other consumers hold."""
        return self._renewer is not None

    def start(self) -> None:
        """Start the thread that sends acks and returns to Cloudflare. It can't extend leases."""
        self._batcher.start()

    def start_extending(self) -> None:
        """Open the ledger, and start all threads; raises as `ledger.open_ledger` does."""
        self.start()
        with self._lock:
            if self._opened:
                return
            ledger = self._open_ledger()
            if ledger is not None:
                self._renewer = LeaseRenewer(
                    ledger,
                    self._end_now,
                    self._lease_seconds,
                    on_lost=self._note_lost,
                    on_hopeless=self._on_hopeless,
                )
                self._renewer.start()
            self._opened = True

    def take(self, delivery: Delivery, allowed: int) -> float | None:
        """Ask the ledger who owns a message that comes again; see `LeaseRenewer.take`."""
        return 0.0 if self._renewer is None else self._renewer.take(delivery, allowed)

    def accept_request(self, request_id: str) -> bool:
        """Note in the ledger, if there is one, that a signed request is used; False if it was.

        Raises `LedgerUnavailable`.
        """
        return self._renewer is None or self._renewer.accept_request(request_id)

    def is_done(self, delivery: Delivery) -> bool:
        """Return whether the message is done in this process, and only has to be removed."""
        return self._finished.has(delivery.lease.key)

    def may_be_repeated(self, delivery: Delivery) -> bool:
        """Return whether another consumer may have had the message, as far as is known here."""
        return self._first_deliveries.may_be_repeated(delivery)

    def seen_before(self, delivery: Delivery) -> bool:
        """Return whether an earlier delivery of the message may have come to somebody."""
        return self._finished.seen_before(delivery)

    def given(self, queue_id: str) -> int:
        """Return how many messages of a queue are with consumers of this process."""
        held = list(self._held.values())
        return sum(each.given and each.lease.queue_id == queue_id for each in held)

    def extend(self, *deliveries: Delivery, at_once: bool = False) -> None:
        """Extend leases by records in the ledger from now on, until the deliveries end.

        With `at_once` the records are written now, since Cloudflare is about to deliver the
        messages again; otherwise when half of the lease is over. Without a ledger, only `adopt`
        extends a lease.
        """
        if self._renewer is not None:
            self._renewer.extend(deliveries, at_once=at_once)

    def adopt(self, delivery: Delivery, allowed: int) -> bool:
        """Have a copy of a message that this process holds end with it; return whether it does.

        The copy was published twice, by a publish whose first answer got lost; or it comes because
        the lease has ended, and no ledger extends it. Of what this process does not hold, it holds
        this delivery from now on. Where there is a ledger, it decides about a message that comes
        again: once the lease has ended, and once half of the `allowed` deliveries are used up.
        """
        key = delivery.lease.key
        if delivery.on_end is not None:
            return False
        while (held := self._held.setdefault(key, delivery)) is not delivery:
            again = held.entry.get("id") == delivery.entry.get("id")
            if self.has_ledger and (again or delivery.attempts > allowed // 2):
                return False
            held.copies.append(delivery)
            if self._held.get(key) is not held:  # it has ended meanwhile, perhaps without the copy
                try:
                    held.copies.remove(delivery)
                except ValueError:
                    return True
                continue
            if not self.has_ledger:
                held.lease.until = held.until_with_copies(clock())
            return True
        return False

    def ack(self, delivery: Delivery) -> None:
        """Have the message removed: it is done."""
        self._end(delivery, None)

    def reject(self, delivery: Delivery) -> None:
        """Have the message removed unrun: the worker rejected it, or no worker can read it."""
        self._end(delivery, None)

    def requeue(self, delivery: Delivery, delay: float = 0.0) -> None:
        """Have the message returned to its queue, to be delivered again after `delay` seconds."""
        self._end(delivery, delay)

    def let_go(self, delivery: Delivery) -> None:
        """Leave a message to others whose task must not start here; see `Delivery.may_start`."""
        if self._renewer is None and clock() >= delivery.lease.until:
            # Its queue has it already: to return it now might take it from another consumer.
            delivery.ended = True
            self._end_copies(delivery, self.let_go)
        else:
            self.requeue(delivery)

    def flush_calls(self, timeout: float) -> bool:
        """Wait like `flush`, but not for deliveries that the ledger has to record first."""
        return self._batcher.flush(timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until Cloudflare has accepted everything handed over; return whether it has."""
        deadline = time.monotonic() + timeout
        if self._renewer is not None:
            self._renewer.flush(timeout)
        return self._batcher.flush(max(0.0, deadline - time.monotonic()))

    def close(self, timeout: float) -> Unaccepted | None:
        """Send the remaining endings and end the threads, each within `timeout` seconds.

        Returns what Cloudflare has not accepted, if anything: the process's next connection to the
        account has it by `inherit`.
        """
        if self._renewer is not None:
            self._renewer.close(timeout)
        endings = self._batcher.close(timeout)
        if not endings:
            return None
        logger.warning(
            "cloudflare: closed with %d message(s) neither acked nor returned; a new connection of "
            "this process goes on with that, else they come back when their lease ends",
            len(endings),
        )
        return Unaccepted(endings, self._finished.all())

    def inherit(self, left: Unaccepted) -> None:
        """Go on with what an earlier connection of this process left: its messages are done."""
        for delivery in left.finished:
            self._finished.add(delivery)
        for ending in left.endings:
            self._batcher.add(ending.delivery, ending.delay)

    def report(self) -> dict[str, int]:
        """Return how many messages wait for an ack or a return, and how many are kept by records.

        See `Session.stats`.
        """
        renewer = self._renewer
        return {
            "acks_waiting": self._batcher.waiting(),
            "done_here": self._finished.waiting,
            "extended": 0 if renewer is None else renewer.extended,
            "records_waiting": 0 if renewer is None else renewer.waiting,
        }

    def _end(self, delivery: Delivery, delay: float | None) -> None:
        if delivery.ended:
            return
        delivery.ended = True
        if self._renewer is not None:
            self._renewer.forget(delivery)
        if not delivery.lease.lost:
            self._end_lease(delivery, delay)
        self._end_copies(delivery, lambda copy: self._end(copy, delay))

    def _end_copies(self, delivery: Delivery, end: Callable[[Delivery], None]) -> None:
        """Hold a message no longer, and end the copies that its delivery has adopted.

        In this order: `adopt` finds out whether it came too late. What is done is known to be so
        before this, so that no copy runs in between.
        """
        if self._held.get(delivery.lease.key) is delivery:
            del self._held[delivery.lease.key]
        with contextlib.suppress(IndexError):  # `adopt` may take the last one back
            while delivery.copies:
                copy = delivery.copies.pop()
                # The ledger has a record of the message, and not of each copy.
                copy.owned, copy.given, copy.copied = False, delivery.given, delivery.copied
                end(copy)

    def _note_lost(self, delivery: Delivery) -> None:
        """Return the copies of a message that another consumer has taken over."""
        self._end_copies(delivery, self.requeue)

    def _end_lease(self, delivery: Delivery, delay: float | None) -> None:
        lease, renewer = delivery.lease, self._renewer
        over = clock() >= lease.until
        if delay is not None and not delivery.given:
            self._finished.returned_unseen(lease.key)
        elif delay is None and lease.key and not delivery.copied and delivery.on_end is None:
            self._finished.add(delivery)
        if renewer is not None and (lease.version is not None or (delivery.owned and over)):
            renewer.end(delivery, delay)
            return
        if over and delivery.owned and not self._overran:
            self._overran = True
            logger.warning(
                "cloudflare: message %s was held for longer than its lease, so that it may have "
                "run elsewhere as well: without a lease ledger no lease can be extended "
                "(docs/transport.md, Leases)",
                lease.key,
            )
        self._end_now(delivery, delay)

    def _end_now(self, delivery: Delivery, delay: float | None) -> None:
        """End a delivery at Cloudflare: by the connection that pushed it, or by the API."""
        if delivery.on_end is None:
            self._batcher.add(delivery, delay)
            return
        if delay is None and delivery.object_key:
            self._discard([delivery.object_key])
        delivery.on_end(delivery, delay)

    def _note_done(self, deliveries: list[Delivery]) -> None:
        """Record in the ledger that messages are done whose acks Cloudflare does not accept yet."""
        if self._renewer is not None:
            self._renewer.note_done([each for each in deliveries if each.owned])
