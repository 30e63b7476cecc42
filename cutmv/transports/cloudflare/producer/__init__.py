"""Publishes messages by few calls, through the edge Worker or by the REST API.

`sender` puts messages into queues, `group_commit` has concurrent publishes share a call, and
`batch` gathers the messages that a block publishes. Imports `edge`, `queues`, `messages`, `api`,
`celery_hooks` and `errors`.
"""

from cutmv.transports.cloudflare.producer.batch import (
    Batch,
    ProducerBatch,
    canvas_batch,
    current,
    latest,
    publish_batch,
)
from cutmv.transports.cloudflare.producer.group_commit import Publisher, Publishers
from cutmv.transports.cloudflare.producer.sender import Sender

__all__ = [
    "Batch",
    "ProducerBatch",
    "Publisher",
    "Publishers",
    "Sender",
    "canvas_batch",
    "current",
    "latest",
    "publish_batch",
]
