"""What the consumer's loop finds in its inbox: messages for a consumer, and what it has lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cutmv.transports.cloudflare import celery_worker
from cutmv.transports.cloudflare.consumer.poller import Puller
from cutmv.transports.cloudflare.consumer.push import Receiver
from cutmv.transports.cloudflare.leases.acknowledger import Lease

if TYPE_CHECKING:
    from cutmv.transports.cloudflare.channel import Channel

logger = logging.getLogger(__name__)


class Subscription:
    """One consumer of one queue: its callback, and the puller that feeds it."""

    def __init__(
        self, channel: Channel, queue: str, no_ack: bool, callback: Callable[[Any], None]
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.no_ack = no_ack
        self.callback = callback
        self.puller: Puller | Receiver | None = None

    def deliver(self, raw: dict[str, Any]) -> None:
        """Give a message to the consumer; called in the consumer's loop."""
        channel = self.channel
        message = channel.Message(raw, channel=channel)
        if self.puller is not None:
            lease: Lease = raw["lease"]
            if lease.lost:
                channel.qos.unreserve(1)
                return
            channel.qos.hold(message, lease, fetched=True)
            if self.no_ack:
                channel.qos.ack(lease.lease_id)
        self.callback(message)


class Losses:
    """Tells the consumer's loop of messages that another consumer has now."""

    def deliver(self, raw: dict[str, Any]) -> None:
        """Forget the message, and stop its task where that can be done."""
        lease: Lease = raw["lease"]
        if raw["qos"].lose(lease.lease_id) and celery_worker.abandon(lease.lease_id):
            logger.warning("cloudflare: the task of message %s is stopped", lease.key)


#: There is one for all.
LOSSES = Losses()
