"""The lease renewer: keeps a message for as long as its task runs, by records in the ledger.

A lease is short (`visibility_timeout`), so that the messages of a killed worker come back soon.
When a process has held a message for half of its lease, the renewer writes a record, and writes it
again each time half of the record's time is over. Cloudflare delivers the message again all the
same, since no call extends a lease: the consumer that gets it a second time asks
`LeaseRenewer.take`, finds the record, and has the message wait. Short tasks need no record.

A consumer whose record has expired (a stopped process, a broken network) no longer owns the
message. It asks the ledger before it ends the delivery: where another consumer has taken the
message over, the delivery is *lost*, and this process neither acks the message nor finishes its
task. When a message that has a record is acked, its record becomes *done*, and a copy that
Cloudflare still delivers is removed unrun.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from cutmv.transports.cloudflare.errors import LedgerUnavailable
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.ledger import Entry, Ledger, State
from cutmv.transports.cloudflare.runtime import BackgroundThread, clock, in_parallel
from cutmv.transports.cloudflare.troubles import note_trouble

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Part of a lease's time that may pass before its record is written, or written again.
RENEW_AT_PART = 0.5

#: How often the renewer looks for leases to renew, in the time of one lease.
CHECKS_PER_LEASE = 10

#: Seconds until a message that two consumers wanted at once is delivered again.
CONTESTED_DELAY = 5.0

#: Attempts at one write, at most, before another consumer counts as faster.
MAX_WRITES = 3

#: Records written concurrently, since a call to the ledger may take as long as one to Cloudflare.
RECORD_WRITERS = 8


class Deadly(ValueError):
    """Too many consumers were lost while they held this message; the text says how many."""


@dataclass(frozen=True, slots=True)
class _RecordedEnding:
    """An ending that is written to the ledger first; `delay` is none for an ack.

    Without `finish` it is written to the ledger only, and not sent to Cloudflare.
    """

    delivery: Delivery
    delay: float | None = None
    finish: bool = True


class LeaseRenewer:
    """A thread that records in the ledger which messages this process holds, and how they end.

    `finish` then ends a delivery at Cloudflare; `on_lost` hears of one that another consumer has
    taken over. A record counts for `lease_seconds`. The ledger is closed with the renewer.
    """

    def __init__(
        self,
        ledger: Ledger,
        finish: Callable[[Delivery, float | None], None],
        lease_seconds: float,
        *,
        on_lost: Callable[[Delivery], object] = lambda _: None,
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        self._seconds = lease_seconds
        self._on_lost = on_lost
        self._finish_delivery = finish
        self._ledger = ledger
        self._deliveries: dict[str, Delivery] = {}
        self._handed_over: queue.SimpleQueue[_RecordedEnding | None] = queue.SimpleQueue()
        self._thread = BackgroundThread(
            "leases",
            self._run,
            lambda: self._handed_over.put(None),
            on_hopeless=on_hopeless,
        )
        # Used by the thread alone:
        self._pending: deque[_RecordedEnding] = deque()
        self._flushes: list[threading.Event] = []
        self._check_at = 0.0
        self._check_now = threading.Event()
        self._failing = False

    @property
    def extended(self) -> int:
        """How many leases are being extended."""
        return len(self._deliveries)

    @property
    def waiting(self) -> int:
        """How many endings wait to be written to the ledger."""
        return len(self._pending) + self._handed_over.qsize()

    def start(self) -> None:
        """Start the thread, once."""
        self._thread.start()

    def accept_request(self, request_id: str) -> bool:
        """Note in the ledger that a signed request is used; see `Ledger.accept`."""
        return self._ledger.accept(request_id)

    def take(self, delivery: Delivery, allowed: int) -> float | None:
        """Ask the ledger whether this process may run a message that was delivered before.

        Returns 0 if it may, the seconds for which the message has to wait while another consumer
        has it, or none where the message is done and only has to be removed. An orphaned message
        does not wait: who holds it by the record is gone. Raises `Deadly` where more than `allowed`
        consumers were lost while they held it, and `LedgerUnavailable`.
        """
        lease = delivery.lease
        record = self._ledger.read(lease.key)
        if record is not None:
            if record.entry.state == "done":
                return None
            if record.remaining and not delivery.orphaned:
                return record.remaining
            lease.version = record.version
            lease.losses = record.entry.losses + (record.entry.state == "held")
            if lease.losses > allowed:
                losses, lease.losses = lease.losses, 0
                self._write(lease, "free")  # so that it counts as new when it is replayed
                raise Deadly(f"{losses} consumers were lost that held it")
        return 0.0 if self._write(lease, "held") else CONTESTED_DELAY

    def extend(self, deliveries: Iterable[Delivery], *, at_once: bool) -> None:
        """Extend leases by records from now on, until `forget`.

        With `at_once`, write the records now, but only of leases that are being extended. A
        delivery whose lease is no longer extended is ending: its record must not become *held*
        again.
        """
        for delivery in deliveries:
            if not at_once:
                self._deliveries[delivery.lease.lease_id] = delivery
            elif delivery.lease.lease_id in self._deliveries:
                delivery.lease.until = 0.0  # so that it is also ended in the ledger first
        if at_once:
            self._check_now.set()
            self._handed_over.put(None)

    def forget(self, delivery: Delivery) -> None:
        """Stop extending a lease, since its delivery ends."""
        self._deliveries.pop(delivery.lease.lease_id, None)

    def end(self, delivery: Delivery, delay: float | None) -> None:
        """End a delivery, in the ledger first; `delay` is none for an ack."""
        self._handed_over.put(_RecordedEnding(delivery, delay))

    def note_done(self, deliveries: Iterable[Delivery]) -> None:
        """Record that messages are done while Cloudflare does not accept their acks.

        Their leases may end before the acks are accepted; the record keeps a copy from being run.
        """
        for delivery in deliveries:
            lease = delivery.lease
            if lease.key and lease.version is None and not lease.noted:
                lease.noted = True
                self._handed_over.put(_RecordedEnding(delivery, finish=False))

    def flush(self, timeout: float) -> None:
        """Wait until everything handed over is in the ledger, and on its way to Cloudflare."""
        self._thread.flush(timeout)

    def close(self, timeout: float) -> None:
        """Write the remaining records, end the thread, and close the ledger.

        Writing and ending the thread may take `timeout` seconds each.
        """
        if self._thread.started:
            self.flush(timeout)
            self._thread.close(timeout)
            self._ledger.close()

    def _run(self) -> None:
        pause = self._seconds / CHECKS_PER_LEASE
        self._check_at = time.monotonic() + pause
        while not (self._thread.stopping.is_set() and self._handed_over.empty()):
            self._collect()
            self._finish_all()
            if time.monotonic() >= self._check_at:
                self._check_at = time.monotonic() + pause
                self._renew_all()
            if not self._pending:
                for flushed in self._flushes:
                    flushed.set()
                self._flushes.clear()
        if self._pending:
            logger.warning(
                "cloudflare: closed with %d message(s) neither acked nor returned, since the lease "
                "ledger does not answer",
                len(self._pending),
            )

    def _collect(self) -> None:
        """Wait for work, then take everything that has been handed over."""
        try:
            first = self._handed_over.get(timeout=max(0.0, self._check_at - time.monotonic()))
        except queue.Empty:
            return
        self._flushes += self._thread.flush_requests()
        if self._check_now.is_set():
            self._check_now.clear()
            self._check_at = 0.0
        handed_over = [first]
        while not self._handed_over.empty():
            handed_over.append(self._handed_over.get())
        if None in handed_over[1:]:  # a wake-up whose request this round may have missed
            self._handed_over.put(None)
        self._pending.extend(ending for ending in handed_over if ending is not None)

    def _finish_all(self) -> None:
        """End pending deliveries, in the ledger first: no message runs twice after a crash."""
        # They stay pending until this is over: an error that nobody expected must lose none.
        failed = self._failed(self._finish, list(self._pending))
        self._pending = deque(failed)

    def _finish(self, ending: _RecordedEnding) -> None:
        delivery, delay = ending.delivery, ending.delay
        lease = delivery.lease
        if not ending.finish and delivery.accepted:
            return
        try:
            done = delay is None and not delivery.copied
            ours = self._write(lease, "done" if done else "free")
        except Exception:
            if not ending.finish or clock() >= lease.until:
                raise
            ours = True  # the lease is not over: no other consumer can have the message
        if not ending.finish:
            return
        if ours:
            self._finish_delivery(delivery, delay)
        else:
            self._lose(delivery)

    def _renew_all(self) -> None:
        least = clock() + self._seconds * RENEW_AT_PART
        due = [each for each in self._deliveries.copy().values() if each.lease.until < least]
        self._failed(self._renew, due)

    def _renew(self, delivery: Delivery) -> None:
        lease = delivery.lease
        if not self._write(lease, "held"):
            if self._deliveries.pop(lease.lease_id, None):
                self._lose(delivery)
        elif lease.lease_id not in self._deliveries:
            # The delivery ended meanwhile, perhaps not in the ledger, since it had no record yet.
            self._write(lease, "free")

    def _failed(self, act: Callable[[_T], None], each: list[_T]) -> list[_T]:
        """Call `act` for each, some at a time, and return those for which the ledger failed.

        A call that fails does not hold up the others.
        """
        errors = in_parallel("leases", RECORD_WRITERS, act, each)
        failures = [error for error in errors if error]
        for error in failures:
            if not isinstance(error, LedgerUnavailable):
                note_trouble(self._thread.name, error, "it is tried again")
        if failures and not self._failing:
            logger.warning("cloudflare: leases wait to be kept: %s", failures[0])
        self._failing = bool(failures)
        if failures:
            self._check_at = time.monotonic() + self._seconds / CHECKS_PER_LEASE
        return [item for item, error in zip(each, errors, strict=True) if error]

    def _write(self, lease: Lease, state: State) -> bool:
        """Write this process's record of a message; return false where another consumer has it."""
        owner = hashlib.sha256(lease.lease_id.encode()).hexdigest()[:32]
        for _ in range(MAX_WRITES):
            started = clock()
            entry = Entry(owner, state, self._seconds, lease.losses)
            version = self._ledger.write(lease.key, entry, lease.version)
            if version is not None:
                lease.version, lease.until = version, started + self._seconds
                return True
            record = self._ledger.read(lease.key)
            if record is None:
                lease.version = None
            elif record.entry.owner == owner or not (
                record.entry.state == "done" or record.remaining
            ):
                # The record is ours (the response to a write got lost), or has expired or is free.
                lease.version = record.version
            else:
                return False
        return False

    def _lose(self, delivery: Delivery) -> None:
        logger.warning(
            "cloudflare: message %s has gone to another consumer, after this one was away for "
            "longer than a lease; it is not acked here",
            delivery.lease.key,
        )
        delivery.lease.lost = True
        self._on_lost(delivery)
        if delivery.on_lost is not None:
            delivery.on_lost(delivery)
