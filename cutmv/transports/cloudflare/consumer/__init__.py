"""From the broker to the worker: polls or pushes, and what a channel may hold.

`poller` pulls, `push` takes what the edge Worker pushes, `intake` sorts what came, `dead_letters`
moves what can't be read, `ready_queue` holds what is for the consumer's loop, `consumer` gives it
out, `qos` keeps prefetch and what is unsettled. Imports `edge`, `leases`, `queues`, `messages`,
`api` and `celery_worker`.
"""

from cutmv.transports.cloudflare.consumer.consumer import (
    LostDeliveries,
    MemoryConsumer,
    QueueConsumer,
    Recipient,
)
from cutmv.transports.cloudflare.consumer.dead_letters import DeadLetters, as_pulled, calls
from cutmv.transports.cloudflare.consumer.intake import Intake
from cutmv.transports.cloudflare.consumer.poller import Poller
from cutmv.transports.cloudflare.consumer.push import PushConsumer
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.consumer.ready_queue import ReadyQueue

__all__ = [
    "DeadLetters",
    "Intake",
    "LostDeliveries",
    "MemoryConsumer",
    "Poller",
    "PushConsumer",
    "QoS",
    "QueueConsumer",
    "ReadyQueue",
    "Recipient",
    "as_pulled",
    "calls",
]
