"""Publishes messages by few calls, through the edge Worker or by the REST API.

`sender` puts messages into queues, `group_commit` has concurrent publishes share a call, and
`batch` gathers the messages that a block publishes. Imports `edge`, `queues`, `messages`, `api` and
`errors`.
"""

from cutmv.transports.cloudflare.producer.batch import ProducerBatch, current, publish_batch
from cutmv.transports.cloudflare.producer.group_commit import Publisher, Publishers
from cutmv.transports.cloudflare.producer.sender import Sender

__all__ = ["ProducerBatch", "Publisher", "Publishers", "Sender", "current", "publish_batch"]
