"""Sends acks and returns to Cloudflare's API in few calls, and tries again until it accepts."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from cutmv.transports.cloudflare import errors
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.leases.callers import Callers
from cutmv.transports.cloudflare.leases.delivery import Delivery
from cutmv.transports.cloudflare.runtime import HOPELESS_AFTER, BackgroundThread, full_jitter
from cutmv.transports.cloudflare.troubles import note_trouble

logger = logging.getLogger(__name__)

#: Leases ended by one call at most.
MAX_LEASES = 100

#: Seconds one attempt may take, and between two attempts at most.
CALL_TIMEOUT = 10.0
PAUSE_MAX = 10.0

#: Seconds after which a call that has not returned counts as troubled.
SLOW_AFTER = 2.0

#: Failures in a row after which parts of a call are tried, and all else before them.
APART_AFTER = 3

#: The shortest linger (s) during which the thread need not look at each ending.
SHORTEST_LINGER = 0.01


@dataclass(frozen=True, slots=True)
class Ending:
    """How a delivery ends: `delay` is none for an ack, else the seconds until the next delivery."""

    delivery: Delivery
    delay: float | None


@dataclass(slots=True)
class _Lane:
    """The endings of one queue, with a schedule of their own: no queue's trouble is another's.

    Attributes:
        pending: What waits for its first call.
        again: What waits for another call: endings of a call that failed, or parts of a call that
            was refused.
        due: When the next call may be made, by `time.monotonic`; none for at once.
        failures: Calls that failed since the last that was accepted.
        calling: The endings of the call under way; empty while there is none.
        called_at: When that call began; none once it counts as troubled.
    """

    pending: deque[Ending] = field(default_factory=deque)
    again: deque[list[Ending]] = field(default_factory=deque)
    due: float | None = None
    failures: int = 0
    calling: list[Ending] = field(default_factory=list)
    called_at: float | None = None

    def left(self) -> list[Ending]:
        """Return all that Cloudflare has not accepted."""
        return [*self.calling, *(each for part in self.again for each in part), *self.pending]

    def take(self) -> list[Ending]:
        """Take the endings of the next call."""
        if self.again:
            return self.again.popleft()
        return self._next_pending()

    def set_apart(self, endings: list[Ending]) -> None:
        """Have all else go before a call that fails, and then its halves: one lease may be why."""
        while self.pending:
            self.again.append(self._next_pending())
        half = (len(endings) + 1) // 2
        self.again.extend(filter(None, (endings[:half], endings[half:])))

    def _next_pending(self) -> list[Ending]:
        return [self.pending.popleft() for _ in range(min(MAX_LEASES, len(self.pending)))]


_Answer = tuple[str, list[Ending], dict[str, str] | Exception]


class AckBatcher:
    """A thread that acks and returns messages; started by the first consumer, ended by `close`.

    Each queue has its own schedule, and one call at a time, which another thread makes. What comes
    first goes at once; what comes during its call and `linger` seconds after goes together. Only
    the first ending and the one that makes a call full wake the thread: waking it for each would
    cost a busy worker more than the calls do.

    `on_settled` receives a delivery whose end Cloudflare has accepted, or has refused for good.
    `on_trouble` receives the deliveries whose acks wait, because a call failed, or has not returned
    after `slow_after` seconds. `discard` receives the keys of objects whose messages are gone. None
    of them may block.
    """

    def __init__(
        self,
        client: Client,
        linger: float,
        discard: Callable[[Sequence[str]], None],
        *,
        on_settled: Callable[[Delivery], None],
        on_trouble: Callable[[list[Delivery]], None],
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
        slow_after: float = SLOW_AFTER,
    ) -> None:
        self._client = client
        self._linger = linger
        self._discard = discard
        self._on_settled = on_settled
        self._on_trouble = on_trouble
        self._slow_after = slow_after
        self._handed_over: deque[Ending] = deque()
        self._answers: deque[_Answer] = deque()
        self._wake_ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._enough = 1  # so many endings handed over wake the thread
        self._on_hopeless = on_hopeless
        self._callers = Callers("ack-calls")
        self._thread = BackgroundThread(
            "acks",
            self._run,
            lambda: self._wake_ups.put(None),
            self._callers.start,
            on_hopeless,
        )
        # Used by the thread alone:
        self._lanes: dict[str, _Lane] = {}
        self._flushes: list[threading.Event] = []

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
        return self._thread.flush(timeout) or not (self._handed_over or self._lanes)

    def close(self, timeout: float) -> list[Ending]:
        """Send the remaining endings and end the thread, each within `timeout` seconds.

        Returns those that Cloudflare has not accepted.
        """
        if self._thread.started:
            self.flush(timeout)
            self._thread.close(timeout)
            self._callers.close(timeout)
        return [
            *self._handed_over,
            *(each for lane in self._lanes.values() for each in lane.left()),
        ]

    def waiting(self) -> int:
        """Return how many endings Cloudflare has not accepted yet."""
        lanes = list(self._lanes.values())
        return len(self._handed_over) + sum(len(lane.left()) for lane in lanes)

    def _run(self) -> None:
        while not self._thread.stopping.is_set():
            self._collect()
            while self._answers:
                self._settle(*self._answers.popleft())
            self._call_all()
            if not self._lanes:
                for flushed in self._flushes:
                    flushed.set()
                self._flushes.clear()

    # Collecting.

    def _collect(self) -> None:
        """Wait for work, then take everything that has been handed over."""
        wait = self._plan()
        # In this order: an ending that came before `_enough` was set did not wake the thread, and
        # is found here.
        ready = len(self._handed_over) >= self._enough or self._answers
        if not ready and not self._thread.stopping.is_set():
            with contextlib.suppress(queue.Empty):
                self._wake_ups.get(timeout=wait)
        self._enough = MAX_LEASES
        requests = self._thread.flush_requests()
        self._flushes += requests
        troubled: list[Delivery] = []
        while self._handed_over:
            self._note(self._handed_over.popleft(), troubled)
        if troubled:
            self._on_trouble(troubled)
        if requests:
            for lane in self._lanes.values():
                lane.due = time.monotonic()

    def _plan(self) -> float | None:
        """Set how many endings wake the thread; return for how many seconds it may wait."""
        now = time.monotonic()
        dues: list[float] = []
        gathered, awaited = 0, False
        for lane in self._lanes.values():
            if lane.calling:
                awaited = True
                if lane.called_at is not None:
                    dues.append(lane.called_at + self._slow_after)
            elif lane.due is not None:
                dues.append(lane.due)
                if not lane.failures:
                    awaited = True
                    gathered = max(gathered, len(lane.pending))
        if awaited and self._linger >= SHORTEST_LINGER:
            # The thread looks again soon, and so finds what is of other queues.
            self._enough = max(1, MAX_LEASES - gathered)
            dues.append(now + self._linger)
        else:
            self._enough = 1
        return max(0.0, min(dues) - now) if dues else None

    def _note(self, ending: Ending, troubled: list[Delivery]) -> None:
        """Add an ending to its queue's, and to `troubled` where its ack has to wait."""
        now = time.monotonic()
        lane = self._lanes.setdefault(ending.delivery.lease.queue_id, _Lane())
        lane.pending.append(ending)
        slow = lane.calling and lane.called_at is None
        if (lane.failures or slow) and ending.delay is None:
            troubled.append(ending.delivery)
        if lane.calling or lane.failures:
            return
        if lane.due is None:
            lane.due = now
        if len(lane.pending) >= MAX_LEASES:
            lane.due = now

    # Calling.

    def _call_all(self) -> None:
        """Make the calls that are due, and note those that are slow."""
        now = time.monotonic()
        for queue_id, lane in list(self._lanes.items()):
            if lane.calling:
                if lane.called_at is not None and now >= lane.called_at + self._slow_after:
                    lane.called_at = None
                    self._tell(lane)
            elif lane.due is not None and now < lane.due:
                continue
            elif not (lane.again or lane.pending):
                del self._lanes[queue_id]
            else:
                busy = sum(bool(each.calling) for each in self._lanes.values())
                endings = lane.calling = lane.take()
                lane.called_at = now
                self._callers.submit(partial(self._call, queue_id, endings), busy)

    def _call(self, queue_id: str, endings: list[Ending]) -> None:
        """Make a call, in a caller's thread, and hand its answer over."""
        acks = [ending.delivery.lease.lease_id for ending in endings if ending.delay is None]
        retries = [
            (ending.delivery.lease.lease_id, ending.delay)
            for ending in endings
            if ending.delay is not None
        ]
        answer: dict[str, str] | Exception
        try:
            answer = self._client.end_leases(
                queue_id, acks, retries, time.monotonic() + CALL_TIMEOUT
            )
        except errors.CloudflareError as error:
            answer = error
        except Exception as error:  # of whatever kind: the thread waits for an answer
            note_trouble("cloudflare-acks", error, "they are sent again")
            answer = error
        self._answers.append((queue_id, endings, answer))
        self._wake_ups.put(None)

    def _settle(
        self, queue_id: str, endings: list[Ending], answer: dict[str, str] | Exception
    ) -> None:
        """Take a call's answer."""
        lane = self._lanes[queue_id]
        lane.calling, lane.called_at = [], None
        now = time.monotonic()
        if not isinstance(answer, Exception):
            if lane.failures > 1:
                logger.info("cloudflare: acks are accepted again")
            lane.failures = 0
            self._accept(endings, answer)
        elif isinstance(answer, errors.AccessDenied) or getattr(answer, "passing", True):
            # A token may be replaced; and what nobody expected may pass, too.
            lane.failures += 1
            by_lease = isinstance(answer, errors.ServerFault | errors.Conflict) and answer.status
            if by_lease and lane.failures >= APART_AFTER:
                lane.set_apart(endings)
            else:
                lane.again.appendleft(endings)
            if lane.failures == 1:
                self._tell(lane)
            elif lane.failures == 2:  # one lost response is normal
                logger.warning("cloudflare: acks wait to be accepted: %s", answer)
            if lane.failures >= HOPELESS_AFTER and not isinstance(answer, errors.CloudflareError):
                self._on_hopeless(answer)
            asked = getattr(answer, "retry_after", None) or 0.0
            lane.due = now + full_jitter(lane.failures, most=PAUSE_MAX) + asked
            return
        elif len(endings) > 1 and isinstance(answer, errors.Refused):
            # One lease may be what is refused, and must not void the others.
            half = len(endings) // 2
            lane.again.extendleft((endings[half:], endings[:half]))
        else:
            self._void(endings, answer)
        at_once = lane.again or len(lane.pending) >= MAX_LEASES or self._flushes
        lane.due = now if at_once else now + self._linger

    def _tell(self, lane: _Lane) -> None:
        """Tell of the deliveries of a queue whose acks wait."""
        self._on_trouble([each.delivery for each in lane.left() if each.delay is None])

    def _accept(self, endings: list[Ending], warnings: dict[str, str]) -> None:
        for lease_id, warning in warnings.items():
            logger.debug("cloudflare: lease %s...: %s", lease_id[:16], warning)
        keys = []
        for ending in endings:
            delivery = ending.delivery
            delivery.accepted = True
            self._on_settled(delivery)
            acked = ending.delay is None and delivery.lease.lease_id not in warnings
            if acked and delivery.object_key:
                keys.append(delivery.object_key)
        if keys:
            self._discard(keys)

    def _void(self, endings: list[Ending], error: Exception) -> None:
        """Give up endings that Cloudflare refuses for good; the messages may come again."""
        logger.error("cloudflare: %d ack(s) or return(s) are void: %s", len(endings), error)
        self._on_trouble([each.delivery for each in endings if each.delay is None])
        for ending in endings:
            self._on_settled(ending.delivery)
