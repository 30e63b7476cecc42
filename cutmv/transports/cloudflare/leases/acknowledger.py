"""Ending leases: acks and returns, gathered into few calls, tried until accepted."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cutmv.transports.cloudflare.api.client import Client, full_jitter
from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, Refused

logger = logging.getLogger(__name__)

#: Leases ended by one call at most.
MAX_LEASES = 100

#: Seconds one attempt may take, and between two attempts at most.
CALL_TIMEOUT = 10.0
PAUSE_MAX = 10.0


@dataclass(slots=True, eq=False)
class Lease:
    """The right to ack or return one delivery of a message.

    Attributes:
        key: The message, by its publisher's id.
        until: When the right ends, of `time.monotonic`.
        object_key: Of the object that the message came from, and that ends with it.
        version: Of our record in the ledger, once there is one (see `keeper`).
        losses: How many consumers were lost that held the message before.
        noted: Whether the ledger is told that the message is done before its ack is accepted.
        lost: Whether another consumer has the message now.
        on_lost: Told when that comes to pass.
        on_end: Told how the message ended, in place of the API: in push mode there is nothing to
            call (see `receiver`). It must not block.
    """

    queue_id: str
    lease_id: str
    key: str = ""
    until: float = math.inf
    object_key: str | None = None
    version: str | None = None
    losses: int = 0
    noted: bool = False
    lost: bool = False
    on_lost: Callable[[], None] | None = None
    on_end: Callable[[Lease, float | None], None] | None = None

    @classmethod
    def of(cls, queue_id: str, entry: Mapping[str, Any], until: float = math.inf) -> Lease:
        """Return the lease of an entry of a pull's answer, or of what the ingress made like one."""
        return cls(queue_id, entry["lease_id"], until=until, on_end=entry.get("on_end"))


class Settles(Protocol):
    """Ends leases: a `Settler`, or a `keeper.Keeper` before one.

    Both methods only hand over, and never block or take a lock: they may be called from a weak
    reference's callback, wherever the garbage collector happens to run.
    """

    def ack(self, lease: Lease) -> None:
        """Have the message removed."""

    def retry(self, lease: Lease, delay: float = 0.0) -> None:
        """Have the message returned to its queue, `delay` seconds from then."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """`delay` is none for an ack, else the seconds until the message may be pulled again."""

    lease: Lease
    delay: float | None


class Settler:
    """A thread that acks and returns messages; started by the first consumer, ended by `close`.

    Being handed a lease wakes it for the first of a call and when the call is full, not for each:
    that would have cost a busy worker more than the calls do. `discard` is given the keys of
    objects whose messages are gone; it must not block.
    """

    def __init__(
        self,
        client: Client,
        linger: float,
        discard: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._linger = linger
        self._discard = discard
        #: Told of the messages whose acks wait because calls failed again and again.
        self.on_trouble: Callable[[list[Lease]], None] = lambda _: None
        self._intake: deque[_Ending | threading.Event] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._enough = 1  # that many handed over wake the thread
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Of the thread alone:
        self._pending: dict[str, deque[_Ending]] = {}
        self._flushes: list[threading.Event] = []
        self._due: float | None = None
        self._troubles: dict[str, tuple[int, float]] = {}  # failures, and when to try again
        self._closing = False

    def start(self) -> None:
        """Start the thread, once; consumers do before their first pull."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cloudflare-settler", daemon=True
                )
                self._thread.start()

    def ack(self, lease: Lease) -> None:
        """Have the message removed."""
        if lease.on_end is not None:
            if lease.object_key:
                self._discard([lease.object_key])
            lease.on_end(lease, None)
            return
        self._hand_over(_Ending(lease, None))

    def retry(self, lease: Lease, delay: float = 0.0) -> None:
        """Have the message returned to its queue, `delay` seconds from then."""
        if lease.on_end is not None:
            lease.on_end(lease, delay)
            return
        self._hand_over(_Ending(lease, delay))

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed over is accepted; tell whether that came to pass."""
        if self._thread is None or not self._thread.is_alive():
            return not self._intake
        flushed = threading.Event()
        self._intake.append(flushed)
        self._bell.put(None)
        return flushed.wait(timeout)

    def close(self, timeout: float) -> None:
        """Hand in what is left within `timeout` seconds, and end the thread."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        self.flush(timeout)
        self._closing = True
        self._bell.put(None)
        thread.join(timeout)

    def _hand_over(self, ending: _Ending) -> None:
        self._intake.append(ending)
        if len(self._intake) >= self._enough and self._bell.empty():
            self._bell.put(None)

    def _run(self) -> None:
        while not self._closing:
            self._collect()
            if self._due is not None and time.monotonic() >= self._due:
                try:
                    self._send_all()
                except Exception:  # without this thread no ack would be sent any more
                    logger.exception("cloudflare: acks met an error, and are tried again")
                    self._due = time.monotonic() + PAUSE_MAX
            if not self._pending:
                for flushed in self._flushes:
                    flushed.set()
                self._flushes.clear()
        left = sum(map(len, self._pending.values()))
        if left:
            logger.warning(
                "cloudflare: closed with %d message(s) neither acked nor returned; "
                "they come back when their lease ends",
                left,
            )

    def _collect(self) -> None:
        """Wait for something to do, and take in all that has been handed over."""
        wait = None if self._due is None else max(0.0, self._due - time.monotonic())
        gathered = sum(map(len, self._pending.values()))
        self._enough = 1 if wait is None else max(1, MAX_LEASES - gathered)
        # In this order: what came before `_enough` was set did not ring, and is found here.
        if len(self._intake) < self._enough and not self._closing:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=wait)
        self._enough = MAX_LEASES
        while self._intake:
            self._note(self._intake.popleft())

    def _note(self, item: _Ending | threading.Event) -> None:
        now = time.monotonic()
        if isinstance(item, threading.Event):
            self._flushes.append(item)
            if self._pending:
                self._due = now
        else:
            pending = self._pending.setdefault(item.lease.queue_id, deque())
            pending.append(item)
            if self._due is None:
                self._due = now + self._linger
            if len(pending) >= MAX_LEASES and item.lease.queue_id not in self._troubles:
                self._due = now

    def _send_all(self) -> None:
        """Send what has been gathered; what is left by a full call may gather on.

        A queue whose calls fail keeps its own, and holds up no other's.
        """
        dues: list[float] = []
        for queue_id in list(self._pending):
            pending, full = self._pending[queue_id], False
            failures, not_before = self._troubles.get(queue_id, (0, 0.0))
            if time.monotonic() < not_before and not self._flushes:
                dues.append(not_before)
                continue
            while pending:
                if full and len(pending) < MAX_LEASES and not self._flushes:
                    dues.append(time.monotonic() + self._linger)
                    break
                endings = [pending[index] for index in range(min(MAX_LEASES, len(pending)))]
                try:
                    self._send(queue_id, endings)
                except CloudflareError as error:
                    failures += 1
                    if failures == 2:  # one lost answer is everyday life
                        logger.warning("cloudflare: acks wait to be accepted: %s", error)
                    if failures >= 2:
                        self.on_trouble([each.lease for each in pending if each.delay is None])
                    pause = full_jitter(failures, most=PAUSE_MAX) + (error.retry_after or 0.0)
                    self._troubles[queue_id] = failures, time.monotonic() + pause
                    dues.append(time.monotonic() + pause)
                    break
                failures = 0
                self._troubles.pop(queue_id, None)
                for _ in endings:
                    pending.popleft()
                full = len(endings) == MAX_LEASES
            if not pending:
                del self._pending[queue_id]
        self._due = min(dues, default=None)

    def _send(self, queue_id: str, endings: list[_Ending]) -> None:
        acks = [ending.lease.lease_id for ending in endings if ending.delay is None]
        retries = [
            (ending.lease.lease_id, ending.delay) for ending in endings if ending.delay is not None
        ]
        try:
            warnings = self._client.settle(queue_id, acks, retries, time.monotonic() + CALL_TIMEOUT)
        except (NotFound, Refused) as error:
            logger.error("cloudflare: %d acks or returns are void: %s", len(endings), error)
            return
        for lease_id, warning in warnings.items():
            logger.debug("cloudflare: lease %s...: %s", lease_id[:16], warning)
        acked = [ending.lease for ending in endings if ending.delay is None]
        keys = [lease.object_key for lease in acked if lease.lease_id not in warnings]
        if ended := [key for key in keys if key]:
            self._discard(ended)
