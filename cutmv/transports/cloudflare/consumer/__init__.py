"""Brings messages from the queues to the worker, within a channel's prefetch limit.

`poller` pulls messages, or `push` takes those that the edge Worker pushes, and `push_line` has them
wait for room. `intake` sorts messages, `foreign` makes tasks of those that no Celery has published,
`dead_letters` moves those that can't be read, `ready_queue` holds messages for the consumer's loop,
`consumer` gives them to callbacks, `qos` keeps the prefetch limit and the unsettled messages, and
`turns` decides which poller pulls next. Imports `edge`, `leases`, `queues`, `messages`, `api` and
`celery_hooks`.
"""

from cutmv.transports.cloudflare.consumer.consumer import (
    HeldMessages,
    LostDeliveries,
    MemoryConsumer,
    Message,
    QueueConsumer,
    Recipient,
    priority_of,
)
from cutmv.transports.cloudflare.consumer.dead_letters import DeadLetters, as_pulled, calls
from cutmv.transports.cloudflare.consumer.foreign import adopted
from cutmv.transports.cloudflare.consumer.intake import Intake
from cutmv.transports.cloudflare.consumer.poller import Poller
from cutmv.transports.cloudflare.consumer.push import PushConsumer
from cutmv.transports.cloudflare.consumer.push_line import PushedMessages
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.consumer.ready_queue import ReadyQueue

__all__ = [
    "DeadLetters",
    "HeldMessages",
    "Intake",
    "LostDeliveries",
    "MemoryConsumer",
    "Message",
    "Poller",
    "PushConsumer",
    "PushedMessages",
    "QoS",
    "QueueConsumer",
    "ReadyQueue",
    "Recipient",
    "adopted",
    "as_pulled",
    "calls",
    "priority_of",
]
