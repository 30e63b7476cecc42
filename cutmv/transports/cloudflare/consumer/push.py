"""The push consumer: takes messages that the edge Worker pushes, in place of a poller."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any
from uuid import uuid4

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.consumer.intake import Intake
from cutmv.transports.cloudflare.consumer.push_line import (
    ACK,
    Pushed,
    PushedMessages,
    WaitingLine,
)
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.edge import DeliveryCallback, Outcome, PushServer
from cutmv.transports.cloudflare.errors import ConfigurationError, ThreadBroken
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery, Lease
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.messages.limits import MAX_PUSHED
from cutmv.transports.cloudflare.runtime import BackgroundThread, clock
from cutmv.transports.cloudflare.troubles import shown

logger = logging.getLogger(__name__)

#: Names of tasks in one line of the log, at most.
MAX_NAMED = 5

#: Seconds for which a message waits for room at least, however long its task may take; and at most,
#: where nobody knows how long its task may take.
MIN_PATIENCE, UNKNOWN_PATIENCE = 1.0, 300.0

#: Seconds by which the push server may ask early whether a message's time is up.
TIMER_SLACK = 0.1

WAIT = Outcome("wait")


class PushConsumer:
    """Takes the messages that the edge Worker pushes from a consumer's queues.

    Messages wait in a line for room: for a place in the prefetch, and for a process or thread of
    the pool that is free, since the Worker's time runs while a message waits in the prefetch. A
    thread takes them from the line as a poller takes them from a queue, in turn with the pollers of
    the same channel.

    `lease_seconds` is how long a message counts as leased from its push on. The other parameters
    are as those of `poller.Poller`.
    """

    def __init__(
        self,
        intakes: Sequence[Intake],
        *,
        push_server: PushServer,
        pushed_messages: PushedMessages,
        acknowledger: Acknowledger,
        qos: QoS,
        lease_seconds: float,
        on_deliveries: Callable[[list[Delivery]], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._intakes = {intake.queue.name: intake for intake in intakes}
        self._levels = {name: level for level, name in enumerate(self._intakes)}
        self._push_server = push_server
        self._acknowledger = acknowledger
        self._qos = qos
        self._lease_seconds = lease_seconds
        self._on_deliveries = on_deliveries
        self._messages, self._lock = pushed_messages, pushed_messages.lock
        self._line = WaitingLine()
        self._arrived = threading.Event()
        self._busy_answers = 0
        self._on_error = on_error
        self._thread = BackgroundThread(
            f"push-{intakes[0].queue.name}",
            self._run,
            self._wake_up,
            on_hopeless=self._give_up,
        )

    @property
    def stopped(self) -> bool:
        """Whether the consumer has been told to stop."""
        return self._thread.stopping.is_set()

    @property
    def busy(self) -> bool:
        """Whether messages wait."""
        return len(self._line) > 0

    @property
    def ended(self) -> bool:
        """Whether the consumer has stopped, and its thread has ended."""
        return self.stopped and not self._thread.alive

    def start(self) -> None:
        """Start taking messages; raises as `PushServer.attach` does."""
        try:
            for queue_name in self._intakes:
                self._push_server.attach(queue_name, self)
        except ConfigurationError as error:
            celery_worker.end(str(error))
            raise
        if names := celery_worker.tasks_over(MAX_PUSHED):
            logger.warning(
                "cloudflare: the edge Worker waits %.0f s for a pushed task at most, and the time "
                "limit of %s is longer: lower it, or name a queue for it in pulled_queues",
                MAX_PUSHED,
                ", ".join(names[:MAX_NAMED]) + ("" if len(names) <= MAX_NAMED else ", …"),
            )
        self._qos.limit_to_slots(celery_worker.free_slots)
        self._qos.join(self)
        self._thread.start()

    def stop(self) -> None:
        """Stop taking messages; those that wait are asked for elsewhere, or again."""
        for queue_name in self._intakes:
            self._push_server.detach(queue_name)
        self._thread.stop()
        self._qos.leave(self)
        with self._lock:
            for pushed in [each for each in self._mine() if each.line is self._line]:
                self._give_back(pushed, pushed.callbacks.copy(), WAIT)

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout)

    def stats(self) -> dict[str, Any]:
        """Return how many messages wait and run, and how many were told that there is no room."""
        slots = celery_worker.slots()
        return {
            "waiting": len(self._line),
            "running": sum(each.line is None for each in self._mine()),
            "busy_answers": self._busy_answers,
            **({} if slots is None else {"slots": slots}),
        }

    # Called by the push server, in its event loop.

    def take(
        self,
        queue_name: str,
        given: Sequence[tuple[dict[str, Any], DeliveryCallback]],
        seconds: float,
    ) -> float:
        """Have messages wait for room, each with its delivery callback; see `PushHandler`.

        A copy of a message that waits or runs here gets the outcome of that one.
        """
        least = math.inf
        for entry, callback in given:
            key, limit = _read(queue_name, self._intakes[queue_name].adopt(entry))
            patience = UNKNOWN_PATIENCE if limit is None else seconds - limit
            patience = max(MIN_PATIENCE, min(patience, seconds))
            least = min(least, patience)
            rank = (self._levels[queue_name], entry["timestamp_ms"])
            until = clock() + patience
            fresh = Pushed(
                key,
                queue_name=queue_name,
                entry=entry,
                rank=rank,
                until=until,
                on_ended=self._messages.forget,
            )
            with self._lock:  # of two copies that come at once, only one may be admitted
                pushed = self._messages.by_key.get(key)
                if pushed is not None:
                    pushed.join(callback)
                elif key in self._messages.done:
                    callback(ACK)
                elif self.stopped:
                    callback(WAIT)
                elif self._line.add(fresh):
                    self._messages.by_key[key] = fresh
                    fresh.join(callback)
                else:
                    callback(self._busy(fresh))
        self._arrived.set()
        return least

    def withdraw(self, callbacks: Set[DeliveryCallback]) -> None:
        """Give back the messages of these callbacks that still wait for room."""
        now = clock()
        with self._lock:
            for pushed in self._of(callbacks):
                if pushed.line is not None:
                    outcome = self._busy(pushed) if now >= pushed.until - TIMER_SLACK else WAIT
                    self._give_back(pushed, callbacks, outcome)

    def broken(self, callbacks: Set[DeliveryCallback]) -> None:
        """Forget waiting messages whose connection has broken, and extend the leases of others.

        The Worker posts them again soon, here or to another process, which finds in the ledger that
        they are held.
        """
        with self._lock:
            held = []
            for pushed in self._of(callbacks):
                if pushed.line is not None:
                    self._give_back(pushed, callbacks, WAIT)
                elif pushed.delivery is not None:
                    held.append(pushed.delivery)
        self._acknowledger.extend(*held, at_once=True)

    def _mine(self) -> list[Pushed]:
        every = self._messages.by_key.copy().values()
        return [each for each in every if each.queue_name in self._intakes]

    def _of(self, callbacks: Set[DeliveryCallback]) -> list[Pushed]:
        return [
            pushed
            for pushed in self._mine()
            if any(each in callbacks for each in pushed.callbacks.copy())
        ]

    def _give_back(
        self, pushed: Pushed, callbacks: Iterable[DeliveryCallback], outcome: Outcome
    ) -> None:
        """Tell callbacks that a waiting message is theirs again; forget it with the last one."""
        for callback in callbacks:
            if callback in pushed.callbacks:
                pushed.callbacks.remove(callback)
                callback(outcome)
        if pushed.line is not None and not pushed.callbacks:
            pushed.line.remove(pushed)
            del self._messages.by_key[pushed.key]

    def _busy(self, pushed: Pushed) -> Outcome:
        self._busy_answers += 1
        return Outcome("busy", self._line.delay(pushed))

    # The thread.

    def _wake_up(self) -> None:
        self._arrived.set()
        self._qos.wake()

    def _give_up(self, error: BaseException) -> None:
        names = ", ".join(self._intakes)
        self._on_error(ThreadBroken(f"messages pushed to {names} can't be taken: {shown(error)}"))

    def _run(self) -> None:
        while not self.stopped:
            self._arrived.clear()
            if not self.busy:
                self._arrived.wait()
                continue
            room = self._qos.reserve(self, most=len(self._line), linger=0.0)
            with self._lock:
                leaving = self._line.leave(room)
            self._qos.unreserve(room - len(leaving))
            for queue_name, intake in self._intakes.items():
                fresh = [each for each in leaving if each.queue_name == queue_name]
                if fresh:
                    self._admit(intake, fresh)

    def _admit(self, intake: Intake, fresh: list[Pushed]) -> None:
        deliveries = [self._delivery(each) for each in fresh]
        admitted = intake.admit(deliveries)
        for pushed, delivery in zip(fresh, deliveries, strict=True):
            if delivery in admitted:
                pushed.delivery = delivery
        self._qos.unreserve(len(fresh) - len(admitted))
        with self._lock:
            self._messages.forget_old()
        if admitted:
            self._on_deliveries(admitted)

    def _delivery(self, pushed: Pushed) -> Delivery:
        lease_id = uuid4().hex
        until = clock() + self._lease_seconds
        entry = {**pushed.entry, "lease_id": lease_id}
        return Delivery(Lease("", lease_id, until=until), entry, on_end=pushed.end)


def _read(queue_name: str, entry: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return what a message is known by, and the seconds that its task may take, if known."""
    try:
        message = envelope.decode({**entry, "lease_id": ""})
    except (ValueError, TypeError, KeyError):
        return envelope.identity(queue_name, entry, {}), None
    return envelope.identity(queue_name, entry, message), celery_worker.time_limit(message)
