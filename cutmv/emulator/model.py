"""Queues, consumers and messages, their JSON in the API, and the API's limits.

Limits: https://developers.cloudflare.com/queues/platform/limits/. Shapes: the types of the official
`cloudflare` Python SDK, `cloudflare/types/queues`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: Any JSON document.
Json = Any

#: Bytes of one message, with its metadata; Cloudflare's KB is 1,000 bytes.
MAX_MESSAGE_BYTES = 128_000
#: Bytes of a message's limit that Cloudflare's own metadata takes.
METADATA_BYTES = 100
#: Messages of one batch push, and of one pull.
MAX_BATCH_COUNT = 100
#: Bytes of one batch push, with metadata.
MAX_BATCH_BYTES = 256_000
#: Seconds a message may be delayed: 12 hours.
MAX_DELAY = 12 * 3600
#: Milliseconds a message may be leased: 12 hours.
MAX_VISIBILITY_MS = 12 * 3600 * 1000
#: Seconds a queue may keep a message: a minute to 14 days.
MIN_RETENTION, MAX_RETENTION = 60, 14 * 24 * 3600
#: Retries before a message becomes a dead letter, at most.
MAX_RETRIES = 100
#: Concurrent invocations of a push consumer.
MAX_CONCURRENCY = 250
#: Milliseconds a push consumer may wait for its batch to fill.
MAX_WAIT_MS = 60_000
#: Queues of one account.
MAX_QUEUES = 10_000
#: Bytes of one queue's backlog: 25 GB.
MAX_BACKLOG_BYTES = 25_000_000_000

#: Bytes of a message that one billed operation writes, reads or deletes.
OPERATION_BYTES = 64_000

#: The settings of an `http_pull` consumer, unless the request names others.
HTTP_PULL_DEFAULTS: Mapping[str, Json] = {
    "batch_size": 5,
    "max_retries": 3,
    "retry_delay": 0,
    "visibility_timeout_ms": 30_000,
}
#: The settings of a `worker` consumer, unless the request names others; a null concurrency is the
#: platform's maximum.
WORKER_DEFAULTS: Mapping[str, Json] = {
    "batch_size": 10,
    "max_concurrency": None,
    "max_retries": 3,
    "max_wait_time_ms": 5_000,
    "retry_delay": 0,
}


def operations(body_bytes: int) -> int:
    """Return how many operations are billed for writing, reading or deleting a message."""
    return -(-(body_bytes + METADATA_BYTES) // OPERATION_BYTES)


def iso(ms: int) -> str:
    """Return milliseconds since the epoch in the format in which the API writes a time."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class QueueSettings:
    """A queue's settings; both times in seconds."""

    delivery_delay: int = 0
    delivery_paused: bool = False
    message_retention_period: int = 4 * 24 * 3600

    def as_json(self) -> Json:
        """Return the settings by the API's names."""
        return {
            "delivery_delay": self.delivery_delay,
            "delivery_paused": self.delivery_paused,
            "message_retention_period": self.message_retention_period,
        }


@dataclass(frozen=True)
class ConsumerSpec:
    """A consumer as a request describes it; `settings` has every key of its type's defaults."""

    type: str
    settings: Mapping[str, Json]
    dead_letter_queue: str
    script_name: str


@dataclass(frozen=True)
class Consumer:
    """A consumer of a queue."""

    consumer_id: str
    queue_name: str
    created_ms: int
    spec: ConsumerSpec

    def as_json(self) -> Json:
        """Return the SDK's `Consumer`."""
        shown = {
            "consumer_id": self.consumer_id,
            "created_on": iso(self.created_ms),
            "dead_letter_queue": self.spec.dead_letter_queue,
            "queue_name": self.queue_name,
            "settings": dict(self.spec.settings),
            "type": self.spec.type,
        }
        if self.spec.type == "worker":
            shown["script_name"] = self.spec.script_name
        return shown


@dataclass(frozen=True)
class Queue:
    """A queue, with its backlog and its consumers, oldest first."""

    queue_id: str
    queue_name: str
    jurisdiction: str | None
    created_ms: int
    modified_ms: int
    settings: QueueSettings
    backlog_count: int
    backlog_bytes: int
    #: When the whole queue was last purged; None for never.
    purged_ms: int | None
    consumers: tuple[Consumer, ...]

    @property
    def consumer(self) -> Consumer | None:
        """The consumer whose settings count: the first that pulls, else the first."""
        pulling = (each for each in self.consumers if each.spec.type == "http_pull")
        return next(pulling, self.consumers[0] if self.consumers else None)

    def as_json(self) -> Json:
        """Return the SDK's `Queue`; only Workers and R2 are producers, and neither exists here."""
        consumers = [each.as_json() for each in self.consumers]
        shown = {
            "consumers": consumers,
            "consumers_total_count": len(consumers),
            "created_on": iso(self.created_ms),
            "modified_on": iso(self.modified_ms),
            "producers": [],
            "producers_total_count": 0,
            "queue_id": self.queue_id,
            "queue_name": self.queue_name,
            "settings": self.settings.as_json(),
        }
        if self.jurisdiction:
            shown["jurisdiction"] = self.jurisdiction
        return shown


@dataclass(frozen=True)
class NotificationRule:
    """By which R2 tells a queue of some of a bucket's objects; `document` as the API has it."""

    bucket: str
    queue_id: str
    document: Json


@dataclass(frozen=True)
class NewMessage:
    """A message to push; a `delay` (seconds) of None stands for the queue's own."""

    body: bytes
    content_type: str
    delay: int | None

    @property
    def charged_bytes(self) -> int:
        """The bytes that count against the limits."""
        return len(self.body) + METADATA_BYTES


@dataclass(frozen=True)
class Delivery:
    """A message that is pulled or peeked; `handle` is its `lease_id`, or its `ref` of a peek."""

    message_id: str
    handle: str
    body: bytes
    content_type: str
    attempts: int
    created_ms: int
    #: Whether the `duplicate` fault made it, of a message that was delivered already.
    is_copy: bool

    def as_json(self, handle_name: str) -> Json:
        """Return the SDK's `Message` of a pull (`lease_id`) or of a peek (`ref`)."""
        text = self.content_type == "text"
        body = self.body if text else base64.b64encode(self.body)
        return {
            "id": self.message_id,
            "attempts": self.attempts,
            "body": body.decode(),
            handle_name: self.handle,
            "metadata": {"CF-Content-Type": self.content_type},
            "timestamp_ms": self.created_ms,
        }


@dataclass(frozen=True)
class Metrics:
    """A queue's backlog: leased and delayed messages count; `oldest_ms` is 0 when empty."""

    count: int
    bytes: int
    oldest_ms: int

    def as_json(self) -> Json:
        """Return the SDK's `QueueGetMetricsResponse`."""
        return {
            "backlog_bytes": self.bytes,
            "backlog_count": self.count,
            "oldest_message_timestamp_ms": self.oldest_ms,
        }


@dataclass(frozen=True)
class Retry:
    """A lease to give back; a `delay` (seconds) of None stands for the consumer's `retry_delay`."""

    lease_id: str
    delay: int | None


@dataclass(frozen=True)
class AckResult:
    """The result of an acknowledgement; `warnings` by lease id, `deletes` as billed."""

    acked: int
    retried: int
    warnings: Mapping[str, str]
    deletes: int

    def as_json(self) -> Json:
        """Return the SDK's `MessageAckResponse`."""
        return {
            "ackCount": self.acked,
            "retryCount": self.retried,
            "warnings": dict(self.warnings),
        }


@dataclass(frozen=True)
class Subscription:
    """An event subscription; the emulator keeps and shows it, but makes no events."""

    subscription_id: str
    created_ms: int
    modified_ms: int
    #: name, enabled, events, destination and source, as the request gave them.
    document: Mapping[str, Json]

    def as_json(self) -> Json:
        """Return the SDK's `SubscriptionGetResponse`."""
        return {
            "id": self.subscription_id,
            "created_at": iso(self.created_ms),
            "modified_at": iso(self.modified_ms),
            **self.document,
        }
