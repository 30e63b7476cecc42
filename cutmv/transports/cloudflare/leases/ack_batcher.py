"""Sends acks and returns to Cloudflare's API in few calls, and tries again until it accepts."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, Refused
from cutmv.transports.cloudflare.leases.delivery import Delivery
from cutmv.transports.cloudflare.runtime import BackgroundThread, full_jitter

logger = logging.getLogger(__name__)

#: Leases ended by one call at most.
MAX_LEASES = 100

#: Seconds one attempt may take, and between two attempts at most.
CALL_TIMEOUT = 10.0
PAUSE_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a delivery ends: `delay` is none for an ack, else the seconds until the next delivery."""

    delivery: Delivery
    delay: float | None


class AckBatcher:
    """A thread that acks and returns messages; started by the first consumer, ended by `close`.

    Only the first ending of a call and the ending that makes the call full wake the thread: waking
    it for each would cost a busy worker more than the calls do. `discard` receives the keys of
    objects whose messages are gone; `on_trouble` receives the deliveries whose acks wait because
    calls failed repeatedly. Neither may block.
    """

    def __init__(
        self,
        client: Client,
        linger: float,
        discard: Callable[[Sequence[str]], None],
        on_trouble: Callable[[list[Delivery]], None],
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        self._client = client
        self._linger = linger
        self._discard = discard
        self._on_trouble = on_trouble
        self._handed_over: deque[Ending] = deque()
        self._wake_ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._enough = 1  # so many endings handed over wake the thread
        self._thread = BackgroundThread(
            "acks", self._run, lambda: self._wake_ups.put(None), on_hopeless=on_hopeless
        )
        # Used by the thread alone:
        self._pending: dict[str, deque[Ending]] = {}
        self._flushes: list[threading.Event] = []
        self._due: float | None = None
        self._troubles: dict[str, tuple[int, float]] = {}  # failures, and when to try again

    def start(self) -> None:
        """Start the thread, once. Consumers call this before their first pull."""
        self._thread.start()

    def add(self, delivery: Delivery, delay: float | None) -> None:
        """Hand a message to the thread, to be acked (no `delay`) or returned to its queue."""
        self._handed_over.append(Ending(delivery, delay))
        if len(self._handed_over) >= self._enough and self._wake_ups.empty():
            self._wake_ups.put(None)

    def flush(self, timeout: float) -> bool:
        """Wait until Cloudflare has accepted everything handed over; return whether it has."""
        return self._thread.flush(timeout) or not (self._handed_over or self._pending)

    def close(self, timeout: float) -> None:
        """Send the remaining endings and end the thread, each within `timeout` seconds."""
        if self._thread.started:
            self.flush(timeout)
            self._thread.close(timeout)

    def _run(self) -> None:
        while not self._thread.stopping.is_set():
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
        """Wait for work, then take everything that has been handed over."""
        wait = None if self._due is None else max(0.0, self._due - time.monotonic())
        gathered = sum(map(len, self._pending.values()))
        self._enough = 1 if wait is None else max(1, MAX_LEASES - gathered)
        # In this order: an ending that came before `_enough` was set did not wake the thread, and
        # is found here.
        if len(self._handed_over) < self._enough and not self._thread.stopping.is_set():
            with contextlib.suppress(queue.Empty):
                self._wake_ups.get(timeout=wait)
        self._enough = MAX_LEASES
        requests = self._thread.flush_requests()
        self._flushes += requests
        while self._handed_over:
            self._note(self._handed_over.popleft())
        if requests and self._pending:
            self._due = time.monotonic()

    def _note(self, ending: Ending) -> None:
        now, queue_id = time.monotonic(), ending.delivery.lease.queue_id
        pending = self._pending.setdefault(queue_id, deque())
        pending.append(ending)
        if self._due is None:
            self._due = now + self._linger
        if len(pending) >= MAX_LEASES and queue_id not in self._troubles:
            self._due = now

    def _send_all(self) -> None:
        """Send the gathered endings; those that a full call leaves over may wait for more.

        A queue whose calls fail keeps its endings, and does not hold up other queues.
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
                    if failures == 2:  # one lost response is normal
                        logger.warning("cloudflare: acks wait to be accepted: %s", error)
                    if failures >= 2:
                        self._on_trouble([each.delivery for each in pending if each.delay is None])
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

    def _send(self, queue_id: str, endings: list[Ending]) -> None:
        acks = [ending.delivery.lease.lease_id for ending in endings if ending.delay is None]
        retries = [
            (ending.delivery.lease.lease_id, ending.delay)
            for ending in endings
            if ending.delay is not None
        ]
        try:
            warnings = self._client.end_leases(
                queue_id, acks, retries, time.monotonic() + CALL_TIMEOUT
            )
        except (NotFound, Refused) as error:
            logger.error("cloudflare: %d acks or returns are void: %s", len(endings), error)
            return
        for lease_id, warning in warnings.items():
            logger.debug("cloudflare: lease %s...: %s", lease_id[:16], warning)
        acked = [ending.delivery for ending in endings if ending.delay is None]
        keys = [each.object_key for each in acked if each.lease.lease_id not in warnings]
        if ended := [key for key in keys if key]:
            self._discard(ended)
