"""Ending leases: acks and returns, gathered into few calls, tried until accepted."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cutmv.transports.cloudflare.api import Client, full_jitter
from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, Refused

logger = logging.getLogger(__name__)

#: Leases ended by one call at most.
MAX_LEASES = 100

#: Seconds one attempt may take, and between two attempts at most.
CALL_TIMEOUT = 10.0
PAUSE_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to ack or return one delivery of a message.

    `object_key` is of the object that the message came from, and that ends with it.
    """

    queue_id: str
    lease_id: str
    object_key: str | None = None


@dataclass(frozen=True, slots=True)
class _Ending:
    """`delay` is none for an ack, else the seconds until the message may be pulled again."""

    lease: Lease
    delay: float | None


class Settler:
    """A thread that acks and returns messages; started by the first, ended by `close`.

    `ack` and `retry` only hand over, and never block or take a lock: they may be called from a
    weak reference's callback, wherever the garbage collector happens to run. `discard` is given
    the keys of objects whose messages are gone; it must not block either.
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
        self._intake: queue.SimpleQueue[_Ending | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Of the thread alone:
        self._pending: dict[str, deque[_Ending]] = {}
        self._flushes: list[threading.Event] = []
        self._due: float | None = None
        self._failures = 0
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
        self._intake.put(_Ending(lease, None))

    def retry(self, lease: Lease, delay: float = 0.0) -> None:
        """Have the message returned to its queue, `delay` seconds from then."""
        self._intake.put(_Ending(lease, delay))

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed over is accepted; tell whether that came to pass."""
        if self._thread is None or not self._thread.is_alive():
            return self._intake.empty()
        flushed = threading.Event()
        self._intake.put(flushed)
        return flushed.wait(timeout)

    def close(self, timeout: float) -> None:
        """Hand in what is left within `timeout` seconds, and end the thread."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        self.flush(timeout)
        self._closing = True
        self._intake.put(None)
        thread.join(timeout)

    def _run(self) -> None:
        while not self._closing:
            self._collect()
            if self._due is not None and time.monotonic() >= self._due:
                self._send_all()
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
        try:
            item = self._intake.get(timeout=wait)
            while True:
                self._note(item)
                item = self._intake.get_nowait()
        except queue.Empty:
            return

    def _note(self, item: _Ending | threading.Event | None) -> None:
        now = time.monotonic()
        if isinstance(item, threading.Event):
            self._flushes.append(item)
            if self._pending:
                self._due = now
        elif item is not None:
            pending = self._pending.setdefault(item.lease.queue_id, deque())
            pending.append(item)
            if self._due is None:
                self._due = now + self._linger
            if len(pending) >= MAX_LEASES and not self._failures:
                self._due = now

    def _send_all(self) -> None:
        for queue_id in list(self._pending):
            pending = self._pending[queue_id]
            while pending:
                endings = [pending[index] for index in range(min(MAX_LEASES, len(pending)))]
                try:
                    self._send(queue_id, endings)
                except CloudflareError as error:
                    self._failures += 1
                    if self._failures == 2:  # one lost answer is everyday life
                        logger.warning("cloudflare: acks wait to be accepted: %s", error)
                    pause = full_jitter(self._failures, most=PAUSE_MAX) + (error.retry_after or 0.0)
                    self._due = time.monotonic() + pause
                    return
                self._failures = 0
                for _ in endings:
                    pending.popleft()
            del self._pending[queue_id]
        self._due = None

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
