"""The account's queues: their names, their bindings, and their settings.

`names` maps kombu's names to Cloudflare's, `bindings` encodes bindings in names, `arguments` reads
those of a declaration, `consumer_policy` decides the consumer and settings of a queue, `directory`
finds and creates queues, and `binding_table` keeps the bindings of durable queues. Imports `api`,
`errors` and `options`.
"""

from cutmv.transports.cloudflare.queues import arguments, names
from cutmv.transports.cloudflare.queues.arguments import QueueArguments
from cutmv.transports.cloudflare.queues.binding_table import BindingTable
from cutmv.transports.cloudflare.queues.bindings import (
    Binding,
    DurableBinding,
    TemporaryBinding,
    exchange_digest,
    matches,
    queue_digest,
    stands_for_binding,
)
from cutmv.transports.cloudflare.queues.consumer_policy import (
    BINDING_RETENTION_MIN,
    DEAD_LETTER_RETENTION,
    MAX_RETRIES,
    RETENTION,
    Queue,
    binding_retention,
    pull_consumer,
)
from cutmv.transports.cloudflare.queues.directory import QueueDirectory
from cutmv.transports.cloudflare.queues.names import PriorityLevel, QueueName

__all__ = [
    "BINDING_RETENTION_MIN",
    "DEAD_LETTER_RETENTION",
    "MAX_RETRIES",
    "RETENTION",
    "Binding",
    "BindingTable",
    "DurableBinding",
    "PriorityLevel",
    "Queue",
    "QueueArguments",
    "QueueDirectory",
    "QueueName",
    "TemporaryBinding",
    "arguments",
    "binding_retention",
    "exchange_digest",
    "matches",
    "names",
    "pull_consumer",
    "queue_digest",
    "stands_for_binding",
]
