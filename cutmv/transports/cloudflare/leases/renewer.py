"""Leases that follow the work: what is held for long is kept by records in the ledger.

A lease is short (`visibility_timeout`), so that what a killed worker held comes back soon. Of a
message that is held for longer than half of it, the keeper writes a record, and again each time
half of the record's time is over. The message comes to a consumer again all the same, since no
call extends a lease: who gets it a second time asks `Keeper.take`, finds the record, and has it
wait. Short tasks cost no record.

Who was away for so long that its record ran out (a stopped process, a broken network) asks the
ledger before it acks: where another has taken the message over, it is *lost* here, and is neither
acked nor finished. A message that is acked after it was kept leaves the record *done*: a copy that
still comes is removed unrun.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from cutmv.transports.cloudflare.errors import LedgerUnavailable
from cutmv.transports.cloudflare.leases.acknowledger import Lease, Settler
from cutmv.transports.cloudflare.leases.ledger import Entry, Ledger, State

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Part of a lease's time that may pass before its record is written, or written again.
RENEW_AFTER = 0.5

#: Looks for leases to renew, in the time of a lease.
LOOKS = 10

#: Seconds until a message comes again whose record could not be read, or that two wanted at once.
TAKE_AGAIN = 5.0

#: Writes of one record at most before another consumer counts as faster.
RACES = 3

#: Records written at once: the ledger may be as far away as the queues are.
WRITERS = 8


class Deadly(ValueError):
    """A message that its consumers do not survive; the line says how many."""


#: Has the thread look at once for leases to renew.
_LOOK = object()


@dataclass(frozen=True, slots=True)
class _Ending:
    """`delay` is none for an ack. One that is not to `settle` is only noted in the ledger."""

    lease: Lease
    delay: float | None = None
    settle: bool = True


class Keeper:
    """A thread that keeps this process's leases; it ends them before `settler` does."""

    def __init__(self, open_ledger: Callable[[], Ledger], settler: Settler, seconds: float) -> None:
        self.seconds = seconds
        self._open_ledger = open_ledger
        self._settler = settler
        settler.on_trouble = self.note_acks
        self._ledger: Ledger  # from `start` on
        self._leases: dict[str, Lease] = {}
        self._intake: queue.SimpleQueue[_Ending | threading.Event | object | None]
        self._intake = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Of the thread alone:
        self._pending: deque[_Ending] = deque()
        self._flushes: list[threading.Event] = []
        self._look_at = 0.0
        self._failing = False
        self._closing = False

    def start(self) -> None:
        """Open the ledger and start the thread, once; raises as `ledger.open_ledger` does."""
        with self._lock:
            if self._thread is None:
                self._ledger = self._open_ledger()
                self._thread = threading.Thread(
                    target=self._run, name="cloudflare-keeper", daemon=True
                )
                self._thread.start()

    # What consumers ask.

    def track(self, lease: Lease) -> None:
        """Keep a lease from now on, until it is ended."""
        self._leases[lease.lease_id] = lease

    def take(self, lease: Lease, allowed: int) -> float | None:
        """Ask for a message that was delivered before.

        Returns 0 when it is ours to run, the seconds to have it wait while another consumer has
        it, or none where it is done and only to be removed. Raises `Deadly` where more than
        `allowed` consumers were lost with it, and `LedgerUnavailable`.
        """
        record = self._ledger.read(lease.key)
        if record is not None:
            if record.entry.state == "done":
                return None
            if record.remaining:
                return record.remaining
            lease.version = record.version
            lease.losses = record.entry.losses + (record.entry.state == "held")
            if lease.losses > allowed:
                losses, lease.losses = lease.losses, 0
                self._write(lease, "free")  # who replays it shall find it as new
                raise Deadly(f"{losses} consumers were lost that held it")
        return 0.0 if self._write(lease, "held") else TAKE_AGAIN

    def ack(self, lease: Lease) -> None:
        """Have the message removed, unless it is lost."""
        self._end(lease, None)

    def retry(self, lease: Lease, delay: float = 0.0) -> None:
        """Have the message returned, `delay` seconds from then, unless it is lost."""
        self._end(lease, delay)

    def note_acks(self, leases: list[Lease]) -> None:
        """Have it noted that messages are done whose acks are not accepted for now.

        Their leases may end before the acks come through; a copy is then not run.
        """
        for lease in leases:
            if lease.key and lease.version is None and not lease.noted:
                lease.noted = True
                self._intake.put(_Ending(lease, settle=False))

    def hold_on(self, leases: list[Lease]) -> None:
        """Write records now: the messages are worked on, but are about to be delivered again."""
        for lease in leases:
            lease.until = 0.0  # so that it is ended by way of the ledger, too
        self._intake.put(_LOOK)

    def flush(self, timeout: float) -> None:
        """Wait until all that was handed over has gone to the settler."""
        if self._thread is not None and self._thread.is_alive():
            flushed = threading.Event()
            self._intake.put(flushed)
            flushed.wait(timeout)

    def close(self, timeout: float) -> None:
        """Hand over what is left within `timeout` seconds, end the thread, close the ledger."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        self.flush(timeout)
        self._closing = True
        self._intake.put(None)
        thread.join(timeout)
        self._ledger.close()

    def _end(self, lease: Lease, delay: float | None) -> None:
        self._leases.pop(lease.lease_id, None)
        if lease.lost:
            return
        if lease.version is None and time.monotonic() < lease.until:
            self._settle(lease, delay)  # nobody else can have it
        else:
            self._intake.put(_Ending(lease, delay))

    # The thread.

    def _run(self) -> None:
        pause = self.seconds / LOOKS
        self._look_at = time.monotonic() + pause
        while not (self._closing and self._intake.empty()):
            self._collect()
            try:
                self._finish_all()
                if time.monotonic() >= self._look_at:
                    self._look_at = time.monotonic() + pause
                    self._renew_all()
            except Exception:  # without this thread no lease would be renewed, and no ack sent
                logger.exception("cloudflare: the keeper met an error and goes on")
                self._look_at = time.monotonic() + pause
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
        """Wait for something to do, and take in all that has been handed over."""
        try:
            item = self._intake.get(timeout=max(0.0, self._look_at - time.monotonic()))
            while True:
                if isinstance(item, threading.Event):
                    self._flushes.append(item)
                elif item is _LOOK:
                    self._look_at = 0.0
                elif isinstance(item, _Ending):
                    self._pending.append(item)
                item = self._intake.get_nowait()
        except queue.Empty:
            return

    def _finish_all(self) -> None:
        """End what is pending: by a record first, so that a crash in between runs nothing twice."""
        pending = [self._pending.popleft() for _ in range(len(self._pending))]
        for ending in self._failed(self._finish, pending):
            self._pending.append(ending)

    def _finish(self, ending: _Ending) -> None:
        lease, delay = ending.lease, ending.delay
        try:
            ours = self._write(lease, "done" if delay is None else "free")
        except LedgerUnavailable:
            if time.monotonic() >= lease.until:
                raise
            ours = True  # what the record says still holds
        if not ending.settle:
            return
        if ours:
            self._settle(lease, delay)
        else:
            self._lose(lease)

    def _renew_all(self) -> None:
        least = time.monotonic() + self.seconds * RENEW_AFTER
        due = [lease for lease in self._leases.copy().values() if lease.until < least]
        self._failed(self._renew, due)

    def _renew(self, lease: Lease) -> None:
        if not self._write(lease, "held"):
            if self._leases.pop(lease.lease_id, None):
                self._lose(lease)
        elif lease.lease_id not in self._leases:
            # It was ended meanwhile, perhaps without a look at a record that was not there.
            self._write(lease, "free")

    def _failed(self, act: Callable[[_T], None], each: list[_T]) -> list[_T]:
        """Do it for each, some at a time, and return those for which the ledger failed.

        One that fails holds up no other.
        """

        def attempt(item: _T) -> LedgerUnavailable | None:
            try:
                act(item)
            except LedgerUnavailable as error:
                return error
            return None

        if not each:
            return []
        with ThreadPoolExecutor(min(WRITERS, len(each)), "cloudflare-keeper") as pool:
            errors = list(pool.map(attempt, each))
        failures = [error for error in errors if error]
        if failures and not self._failing:
            logger.warning("cloudflare: leases wait to be kept: %s", failures[0])
        self._failing = bool(failures)
        if failures:
            self._look_at = time.monotonic() + self.seconds / LOOKS
        return [item for item, error in zip(each, errors, strict=True) if error]

    def _write(self, lease: Lease, state: State) -> bool:
        """Write our record of a message; tell whether it is ours and not another's."""
        owner = hashlib.sha256(lease.lease_id.encode()).hexdigest()[:32]
        for _ in range(RACES):
            started = time.monotonic()
            entry = Entry(owner, state, self.seconds, lease.losses)
            version = self._ledger.write(lease.key, entry, lease.version)
            if version is not None:
                lease.version, lease.until = version, started + self.seconds
                return True
            record = self._ledger.read(lease.key)
            if record is None:
                lease.version = None
            elif record.entry.owner == owner or not (
                record.entry.state == "done" or record.remaining
            ):
                # Ours: the answer to a write got lost. Or nobody's any more.
                lease.version = record.version
            else:
                return False
        return False

    def _settle(self, lease: Lease, delay: float | None) -> None:
        if delay is None:
            self._settler.ack(lease)
        else:
            self._settler.retry(lease, delay)

    def _lose(self, lease: Lease) -> None:
        logger.warning(
            "cloudflare: message %s has gone to another consumer, after this one was away for "
            "longer than a lease; it is not acked here",
            lease.key,
        )
        lease.lost = True
        if lease.on_lost is not None:
            lease.on_lost()
