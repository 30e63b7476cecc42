"""What the ingress does with the messages of one consumer: in place of a puller, in push mode."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from cutmv.transports.cloudflare.consumer.intake import Admission
from cutmv.transports.cloudflare.consumer.poller import Outlet
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.edge.push_server import Outcome, Tell
from cutmv.transports.cloudflare.leases.acknowledger import Lease
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Ids of messages that were acked here lately: a copy, whose outcome got lost, is not run.
REMEMBERED = 10_000

#: Seconds until a message comes again that could not be looked at.
AGAIN = 10

BUSY: Outcome = {"outcome": "busy"}
ACK: Outcome = {"outcome": "ack"}


class _Delivery:
    """One message that is being worked on, and the connections that wait for its outcome.

    Nothing here takes a lock: a message may end in a weak reference's callback.
    """

    def __init__(self, receiver: Receiver, key: str, message_id: str) -> None:
        self.key, self.message_ids = key, {message_id}
        self.lease: Lease | None = None
        self._receiver = receiver
        self._waiting: deque[Tell] = deque()
        self._outcome: Outcome | None = None

    def join(self, tell: Tell) -> None:
        """Have a connection told how the message ends."""
        self._waiting.append(tell)
        if self._outcome is not None:
            self._tell_all()

    def end(self, lease: Lease, delay: float | None) -> None:
        """Tell that the message is acked (no `delay`) or to come again."""
        self._outcome = (
            ACK if delay is None else {"outcome": "retry", "delay_seconds": math.ceil(delay)}
        )
        self._receiver.forget(self, done=delay is None and bool(lease.key))
        self._tell_all()

    def _tell_all(self) -> None:
        while self._outcome is not None:
            try:
                tell = self._waiting.popleft()
            except IndexError:
                return
            tell(self._outcome)


class Receiver:
    """Takes what the edge Worker delivers from a consumer's queues; see `puller.Puller`."""

    def __init__(
        self, sources: Sequence[Admission], session: Session, qos: QoS, outlet: Outlet
    ) -> None:
        self.stopped = False
        self._sources = {source.queue.name: source for source in sources}
        self._session = session
        self._qos = qos
        self._outlet = outlet
        self._lock = threading.Lock()
        self._running: dict[str, _Delivery] = {}
        self._done: dict[str, None] = {}  # keys, the oldest first

    def start(self) -> None:
        """Start taking; raises as `Session.start_settling` and `Ingress.attach` do."""
        self._session.start_settling()
        for queue_name in self._sources:
            self._session.ingress.attach(queue_name, self)

    def stop(self) -> None:
        """Take no more."""
        self.stopped = True
        for queue_name in self._sources:
            self._session.ingress.detach(queue_name)

    def join(self, timeout: float) -> None:
        """Do nothing: what is being taken is of the ingress's thread."""

    def give_back(self, messages: list[dict[str, Any]]) -> None:
        """Return messages that were taken but not given to the consumer."""
        for message in messages:
            self._session.leases.retry(message["lease"])

    def take(self, queue_name: str, given: Sequence[tuple[dict[str, Any], Tell]]) -> None:
        """Take messages for which there is room; `Tell` is for each one's outcome.

        A copy of a message that is being worked on joins it. Calls the ledger and the object store.
        """
        fresh: list[dict[str, Any]] = []
        for entry, tell in given:
            key = _key_of(entry)
            with self._lock:  # of two copies that come at once, one is the first
                running = self._running.get(key)
                if running is not None:
                    running.message_ids.add(entry["id"])
                    running.join(tell)
                elif key in self._done:
                    tell(ACK)
                elif self.stopped or not self._qos.take_room():
                    tell(BUSY)
                else:
                    delivery = self._running[key] = _Delivery(self, key, entry["id"])
                    delivery.join(tell)
                    fresh.append({**entry, "lease_id": uuid4().hex, "on_end": delivery.end})
        if fresh:
            self._admit(self._sources[queue_name], fresh)

    def broken(self, message_ids: set[str]) -> None:
        """Note that nobody waits for these any more, though they are being worked on.

        They are delivered again soon, perhaps to another process: it finds them held.
        """
        keeper = self._session.keeper
        if keeper is None:
            return
        with self._lock:
            running = list(self._running.values())
        held = [each.lease for each in running if each.lease and each.message_ids & message_ids]
        keeper.hold_on(held)

    def forget(self, delivery: _Delivery, *, done: bool) -> None:
        """Note that a message has ended; takes no lock."""
        if done:
            self._done[delivery.key] = None
        self._running.pop(delivery.key, None)

    def _admit(self, source: Admission, fresh: list[dict[str, Any]]) -> None:
        messages: list[dict[str, Any]] = []
        try:
            keeper = self._session.keeper
            until = time.monotonic() + (keeper.seconds if keeper else math.inf)
            messages = source.admit(fresh, until)
        except Exception:
            logger.exception("cloudflare: messages of queue %r come again", source.name)
            for entry in fresh:
                entry["on_end"](Lease("", entry["lease_id"]), AGAIN)
        for message in messages:
            delivery = self._running.get(message["lease"].key)
            if delivery is not None:
                delivery.lease = message["lease"]
        self._qos.unreserve(len(fresh) - len(messages))
        with self._lock:
            for key in list(self._done)[: max(0, len(self._done) - REMEMBERED)]:
                del self._done[key]
        if messages:
            self._outlet.put(messages)


def _key_of(entry: dict[str, Any]) -> str:
    """Return the publisher's id of a message, or, of what is no message of kombu's, its own."""
    try:
        return str(envelope.decode({**entry, "lease_id": ""})["properties"]["message_id"])
    except (ValueError, TypeError, KeyError):
        return str(entry["id"])
