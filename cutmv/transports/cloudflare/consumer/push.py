"""The push consumer: takes messages that the edge Worker pushes, in place of a poller."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from cutmv.transports.cloudflare.consumer.intake import Intake
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.edge import DeliveryCallback, Outcome, PushServer
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery, Lease
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.runtime import clock

#: Ids of recently acked messages that are kept: when the outcome got lost, a copy is not run.
MAX_DONE_KEYS = 10_000

BUSY, ACK = Outcome("busy"), Outcome("ack")


class _Running:
    """A message that this process works on, and the delivery callbacks that wait for its outcome.

    Nothing here takes a lock, since a weak reference's callback may end the message.
    """

    def __init__(
        self, key: str, message_id: str, on_ended: Callable[[_Running, bool], None]
    ) -> None:
        self.key, self.message_ids = key, {message_id}
        self.delivery: Delivery | None = None
        self._on_ended = on_ended
        self._waiting: deque[DeliveryCallback] = deque()
        self._outcome: Outcome | None = None

    def join(self, callback: DeliveryCallback) -> None:
        """Have `callback` called with the message's outcome, at once if it has ended."""
        self._waiting.append(callback)
        if self._outcome is not None:
            self._tell_all()

    def end(self, delivery: Delivery, delay: float | None) -> None:
        """Tell the callbacks that the message is acked (no `delay`) or is delivered again."""
        self._outcome = ACK if delay is None else Outcome("retry", math.ceil(delay))
        self._on_ended(self, delay is None and not delivery.copied)
        self._tell_all()

    def _tell_all(self) -> None:
        while self._outcome is not None:
            try:
                callback = self._waiting.popleft()
            except IndexError:
                return
            callback(self._outcome)


class PushConsumer:
    """Takes the messages that the edge Worker pushes from a consumer's queues.

    `lease_seconds` is how long a message counts as leased from its push on. The other parameters
    are as those of `poller.Poller`.
    """

    def __init__(
        self,
        intakes: Sequence[Intake],
        *,
        push_server: PushServer,
        acknowledger: Acknowledger,
        qos: QoS,
        lease_seconds: float,
        on_deliveries: Callable[[list[Delivery]], None],
    ) -> None:
        self.stopped = False
        self._intakes = {intake.queue.name: intake for intake in intakes}
        self._push_server = push_server
        self._acknowledger = acknowledger
        self._qos = qos
        self._lease_seconds = lease_seconds
        self._on_deliveries = on_deliveries
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._done: dict[str, None] = {}  # keys, the oldest first

    def start(self) -> None:
        """Start taking messages; raises as `PushServer.attach` does."""
        for queue_name in self._intakes:
            self._push_server.attach(queue_name, self)

    def stop(self) -> None:
        """Stop taking messages."""
        self.stopped = True
        for queue_name in self._intakes:
            self._push_server.detach(queue_name)

    def join(self, timeout: float) -> None:
        """Do nothing: the push server's thread takes the messages."""

    def take(
        self, queue_name: str, given: Sequence[tuple[dict[str, Any], DeliveryCallback]]
    ) -> None:
        """Take the messages for which there is room, each with its delivery callback.

        A copy of a message that this process works on gets the outcome of that one. Calls the
        ledger and the object store, and so may block.
        """
        fresh: list[Delivery] = []
        for entry, callback in given:
            key = _key_of(queue_name, entry)
            with self._lock:  # of two copies that come at once, only one may be admitted
                running = self._running.get(key)
                if running is not None:
                    running.message_ids.add(entry["id"])
                    running.join(callback)
                elif key in self._done:
                    callback(ACK)
                elif self.stopped or not self._qos.take_room():
                    callback(BUSY)
                else:
                    running = self._running[key] = _Running(key, entry["id"], self._forget)
                    running.join(callback)
                    fresh.append(self._delivery(entry, running))
        if fresh:
            self._admit(self._intakes[queue_name], fresh)

    def broken(self, message_ids: set[str]) -> None:
        """Extend the leases of running messages whose connection has broken.

        Cloudflare delivers them again soon, perhaps to another process, which finds in the ledger
        that they are held.
        """
        with self._lock:
            running = list(self._running.values())
        held = [
            each.delivery for each in running if each.delivery and each.message_ids & message_ids
        ]
        self._acknowledger.extend(*held, at_once=True)

    def _delivery(self, entry: dict[str, Any], running: _Running) -> Delivery:
        lease_id = uuid4().hex
        until = clock() + self._lease_seconds
        return Delivery(
            Lease("", lease_id, until=until), {**entry, "lease_id": lease_id}, on_end=running.end
        )

    def _admit(self, intake: Intake, fresh: list[Delivery]) -> None:
        admitted = intake.admit(fresh)
        for delivery in admitted:
            running = self._running.get(delivery.lease.key)
            if running is not None:
                running.delivery = delivery
        self._qos.unreserve(len(fresh) - len(admitted))
        with self._lock:
            for key in list(self._done)[: max(0, len(self._done) - MAX_DONE_KEYS)]:
                del self._done[key]
        if admitted:
            self._on_deliveries(admitted)

    def _forget(self, running: _Running, done: bool) -> None:
        """Note that a message has ended; takes no lock."""
        if done:
            self._done[running.key] = None
        self._running.pop(running.key, None)


def _key_of(queue_name: str, entry: dict[str, Any]) -> str:
    """Return what a message is known by."""
    try:
        message = envelope.decode({**entry, "lease_id": ""})
    except (ValueError, TypeError, KeyError):
        message = {}
    return envelope.identity(queue_name, entry, message)
