"""Recipients to which the consumer's loop gives the messages of the ready queue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from kombu.exceptions import ChannelError, OperationalError
from kombu.transport import virtual

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.consumer.poller import Poller
from cutmv.transports.cloudflare.consumer.push import PushConsumer
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.leases import Delivery
from cutmv.transports.cloudflare.messages import Undecodable, expiry, poison, priority
from cutmv.transports.cloudflare.troubles import shown

logger = logging.getLogger(__name__)

#: How the names of the callbacks begin by which kombu's own loops count messages.
COUNTING = ("kombu.common.drain_consumer.", "kombu.simple.SimpleBase.")

#: Messages of temporary queues that a channel's consumers have not acked: their queue and the
#: message, by delivery tag.
HeldMessages = dict[str, tuple[str, dict[str, Any]]]


def priority_of(ready: Any) -> int:
    """Return the priority of a message of the ready queue."""
    return priority.of(ready.message if isinstance(ready, Delivery) else ready)


class Recipient(Protocol):
    """Takes messages of the ready queue from the consumer's loop.

    `one_by_one` tells whether `Connection.drain_events` has to end after each of its messages.
    """

    one_by_one: bool

    def deliver(self, ready: Any) -> bool:
        """Take one message; return whether a callback got it. Called in the consumer's loop."""


class Message(virtual.Message):
    """A message that tells an error of its own from one of whoever consumes it.

    It knows the lease on it, if it has one.
    """

    delivery: Delivery | None = None

    #: What reading the body has raised.
    unreadable: Exception | None = None

    def _decode(self) -> Any:
        try:
            payload = super()._decode()
            if celery_worker.present():
                poison.check_task(self.headers, payload)
        except Exception as error:
            self.unreadable = error
            raise
        return payload

    def may_start(self, limit: float | None) -> bool:
        """Return whether a task with this time limit (s) may start; see `Delivery.may_start`."""
        if self.delivery is None:
            return True
        # A channel that was closed has no connection any more, but still knows what it held.
        done = self.channel is not None and self.channel.qos.is_done(self.delivery)
        return not done and self.delivery.may_start(limit)

    def let_go(self) -> None:
        """Leave the message to others, whose task must not start here."""
        if self.channel is not None:  # a channel that was closed has given it back
            self.channel.qos.let_go(self.delivery_tag)


class QueueConsumer:
    """One consumer of one durable queue: its callback, and its poller or push consumer."""

    def __init__(
        self,
        channel: virtual.Channel,
        qos: QoS,
        no_ack: bool,
        callback: Callable[[Any], None],
    ) -> None:
        self.source: Poller | PushConsumer  # set before anything is delivered
        self.one_by_one = no_ack or _counts_messages(callback)
        self._channel, self._qos, self._no_ack, self._callback = channel, qos, no_ack, callback

    def deliver(self, ready: Delivery) -> bool:
        """Give a message to the callback, which will ack it.

        An error of the callback's own is raised, except in a Celery worker, where no message may
        end the consumer.
        """
        if ready.lease.lost:
            self._qos.unreserve(1)
            return False
        if expiry.is_over(ready.message):
            self._qos.remove(ready)
            return False
        message = Message(ready.message, channel=self._channel)
        self._qos.hold(message, ready, fetched=True)
        if self._no_ack:
            self._qos.ack(ready.lease.lease_id)
        try:
            self._callback(message)
        except (OperationalError, ChannelError, OSError):
            raise  # of the connection, or of the pool
        except Exception as error:
            if not self._refuses(message, ready, error):
                raise
        return True

    def _refuses(self, message: Message, delivery: Delivery, error: Exception) -> bool:
        """Take a message back with which the callback failed, if the message is the reason."""
        tag = delivery.lease.lease_id
        if error is message.unreadable:
            error = error if isinstance(error, Undecodable) else Undecodable(shown(error))
        elif not celery_worker.present():
            return False
        if celery_worker.present():
            celery_worker.forget(tag)
        if self._qos.lose(tag) and delivery.on_refused is not None:
            delivery.on_refused(delivery, error)
        return True


class MemoryConsumer:
    """One consumer of one temporary queue, whose messages this process holds in memory."""

    one_by_one = True

    def __init__(
        self,
        channel: virtual.Channel,
        held: HeldMessages,
        queue: str,
        no_ack: bool,
        callback: Callable[[Any], None],
    ) -> None:
        self.read: Callable[[dict[str, Any]], None]  # what the memory broker calls
        self._channel, self._held, self._queue = channel, held, queue
        self._no_ack, self._callback = no_ack, callback

    def deliver(self, ready: dict[str, Any]) -> bool:
        """Give a message to the callback, which will ack it."""
        if expiry.is_over(ready):
            return False
        message = Message(ready, channel=self._channel)
        tag = str(message.delivery_tag)
        if not self._no_ack:
            self._held[tag] = self._queue, ready
        try:
            self._callback(message)
        except Exception as error:
            if error is not message.unreadable:
                raise
            self._held.pop(tag, None)
            logger.error("cloudflare: a message that can't be read is dropped: %s", shown(error))
        return True


class LostDeliveries:
    """Takes the deliveries whose messages another consumer has taken over."""

    one_by_one = False

    def __init__(self, qos: QoS) -> None:
        self._qos = qos

    def deliver(self, ready: Delivery) -> bool:
        """Forget the message, and stop its task where that is possible."""
        lease = ready.lease
        if self._qos.lose(lease.lease_id) and celery_worker.abandon(lease.lease_id):
            logger.warning("cloudflare: the task of message %s is stopped", lease.key)
        return False


def _counts_messages(callback: Callable[[Any], None]) -> bool:
    """Return whether a loop of kombu's drains once for each message that it is asked for.

    `itermessages` would not yield what one drain brought beyond the first. A `SimpleQueue` would
    keep it, out of its queue's size and of a purge's reach.
    """
    callbacks = getattr(getattr(callback, "__self__", None), "callbacks", None) or ()
    names = [
        f"{getattr(each, '__module__', '')}.{getattr(each, '__qualname__', '')}"
        for each in callbacks
    ]
    return any(name.startswith(COUNTING) for name in names)
