"""Recipients to which the consumer's loop gives the messages of the ready queue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from kombu.transport import virtual

from cutmv.transports.cloudflare import celery_worker
from cutmv.transports.cloudflare.consumer.poller import Poller
from cutmv.transports.cloudflare.consumer.push import PushConsumer
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.leases import Delivery

logger = logging.getLogger(__name__)


class Recipient(Protocol):
    """Takes messages of the ready queue from the consumer's loop."""

    def deliver(self, ready: Any) -> None:
        """Take one message; called in the consumer's loop."""


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
        self._channel, self._qos, self._no_ack, self._callback = channel, qos, no_ack, callback

    def deliver(self, ready: Delivery) -> None:
        """Give a message to the callback, which will ack it."""
        if ready.lease.lost:
            self._qos.unreserve(1)
            return
        message = self._channel.Message(ready.message, channel=self._channel)
        self._qos.hold(message, ready, fetched=True)
        if self._no_ack:
            self._qos.ack(ready.lease.lease_id)
        self._callback(message)


class MemoryConsumer:
    """One consumer of one temporary queue, whose messages this process holds in memory."""

    def __init__(self, channel: virtual.Channel, callback: Callable[[Any], None]) -> None:
        self._channel, self._callback = channel, callback

    def deliver(self, ready: dict[str, Any]) -> None:
        """Give a message to the callback; there is nothing to ack."""
        self._callback(self._channel.Message(ready, channel=self._channel))


class LostDeliveries:
    """Takes the deliveries whose messages another consumer has taken over."""

    def __init__(self, qos: QoS) -> None:
        self._qos = qos

    def deliver(self, ready: Delivery) -> None:
        """Forget the message, and stop its task where that is possible."""
        lease = ready.lease
        if self._qos.lose(lease.lease_id) and celery_worker.abandon(lease.lease_id):
            logger.warning("cloudflare: the task of message %s is stopped", lease.key)
