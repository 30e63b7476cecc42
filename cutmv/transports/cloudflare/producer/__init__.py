"""From a publish to the broker: few calls, by the better of two ways.

`sender` puts messages into queues, `group_commit` has concurrent publishes share a call, `batch`
gathers what a block publishes. Imports `edge`, `queues`, `messages`, `api`, `errors`.
"""

from cutmv.transports.cloudflare.producer.batch import ProducerBatch, current, publish_batch
from cutmv.transports.cloudflare.producer.group_commit import Publisher, Publishers
from cutmv.transports.cloudflare.producer.sender import Sender

__all__ = ["ProducerBatch", "Publisher", "Publishers", "Sender", "current", "publish_batch"]
