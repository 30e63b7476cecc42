"""The registry: queues, their settings and consumers; event subscriptions and notifications."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from cutmv.emulator import errors
from cutmv.emulator.model import (
    MAX_QUEUES,
    Consumer,
    ConsumerSpec,
    Json,
    NotificationRule,
    Queue,
    QueueSettings,
    Subscription,
    iso,
)

_QUEUES = """
SELECT q.queue_id, q.queue_name, q.jurisdiction, q.created_ms, q.modified_ms, q.delivery_delay,
    q.delivery_paused, q.message_retention_period, q.backlog_count, q.backlog_bytes, q.purged_ms
FROM queues q
"""

_CONSUMERS = """
SELECT consumer_id, created_ms, type, settings, dead_letter_queue, script_name
FROM consumers WHERE queue_id = ? ORDER BY created_ms, consumer_id
"""

#: Selects the queues whose names are in a JSON array; an empty array selects all.
_CALLED = """
WHERE json_array_length(:names) = 0
    OR q.queue_name IN (SELECT value FROM json_each(:names))
"""

_DEAD_LETTERS_COME_FROM = """
WHERE q.queue_id != ? AND q.queue_id IN
    (SELECT queue_id FROM consumers WHERE dead_letter_queue = ?)
"""

_SUBSCRIPTIONS = "SELECT subscription_id, created_ms, modified_ms, document FROM subscriptions"


class Registry:
    """Queues, consumers and subscriptions; methods may raise the `ApiError` that refuses a call."""

    def __init__(self, db: sqlite3.Connection, now_ms: Callable[[], int]) -> None:
        self._db = db
        self._now_ms = now_ms

    # --- queues

    def create_queue(
        self, name: str, jurisdiction: str | None = None, settings: QueueSettings | None = None
    ) -> Queue:
        """Create an empty queue. Errors: 11009 when the name is taken, 11006 at 10,000 queues."""
        if self._named(name):
            raise errors.queue_name_taken(name)
        if self.count_queues() >= MAX_QUEUES:
            raise errors.too_many_queues(MAX_QUEUES)
        settings, now, queue_id = settings or QueueSettings(), self._now_ms(), secrets.token_hex(16)
        self._db.execute(
            "INSERT INTO queues (queue_id, queue_name, jurisdiction, created_ms, modified_ms,"
            " delivery_delay, delivery_paused, message_retention_period)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (queue_id, name, jurisdiction, now, now, *_settings_row(settings)),
        )
        return self.queue(queue_id)

    def queue(self, queue_id: str) -> Queue:
        """Return the queue of this id. Error: 10104."""
        row = self._db.execute(_QUEUES + "WHERE q.queue_id = ?", (queue_id,)).fetchone()
        if row is None:
            raise errors.queue_not_found(queue_id)
        return self._whole(row)

    def queues(self, *, limit: int, offset: int, names: Sequence[str] = ()) -> Sequence[Queue]:
        """Return a page of queues, oldest first; with `names`, of those alone."""
        rows = self._db.execute(
            f"{_QUEUES} {_CALLED} ORDER BY q.created_ms, q.queue_id LIMIT :limit OFFSET :offset",
            {"names": json.dumps(names), "limit": limit, "offset": offset},
        )
        return [self._whole(row) for row in rows.fetchall()]

    def count_queues(self, names: Sequence[str] = ()) -> int:
        """Return how many queues there are; with `names`, how many of those."""
        row = self._db.execute(
            f"SELECT count(*) FROM queues q {_CALLED}",  # noqa: S608  # text of our own
            {"names": json.dumps(names)},
        ).fetchone()
        return int(row[0])

    def sources_of_dead_letters(self, queue: Queue) -> Sequence[Queue]:
        """Return the other queues whose dead letters come to this one."""
        rows = self._db.execute(
            _QUEUES + _DEAD_LETTERS_COME_FROM, (queue.queue_id, queue.queue_name)
        )
        return [self._whole(row) for row in rows.fetchall()]

    def made_if_missing(self, name: str) -> Queue:
        """Return the queue of this name; create it, as Cloudflare does a dead-letter queue."""
        return self._named(name) or self.create_queue(name)

    def update_queue(self, queue_id: str, name: str, settings: QueueSettings) -> Queue:
        """Rename a queue and set its settings. Errors: 10104; 11009 when the name is taken."""
        other = self._named(name)
        if other and other.queue_id != queue_id:
            raise errors.queue_name_taken(name)
        self._db.execute(
            "UPDATE queues SET queue_name = ?, modified_ms = ?, delivery_delay = ?,"
            " delivery_paused = ?, message_retention_period = ? WHERE queue_id = ?",
            (name, self._now_ms(), *_settings_row(settings), queue_id),
        )
        return self.queue(queue_id)

    def delete_queue(self, queue_id: str) -> None:
        """Remove a queue, its consumer and its messages. Error: 10104."""
        self.queue(queue_id)
        self._db.execute("DELETE FROM messages WHERE queue_id = ?", (queue_id,))
        self._db.execute("DELETE FROM queues WHERE queue_id = ?", (queue_id,))

    # --- consumers

    def create_consumer(
        self, queue_id: str, spec: ConsumerSpec, *, another: bool = False
    ) -> Consumer:
        """Create the queue's consumer. Errors: 10104; 11004 when it has one, but for `another`."""
        queue = self.queue(queue_id)
        if queue.consumers and not another:
            raise errors.consumer_exists(queue.queue_name)
        return self._put_consumer(queue, secrets.token_hex(16), self._now_ms(), spec)

    def consumer(self, queue_id: str, consumer_id: str) -> Consumer:
        """Return the consumer of this id on this queue. Errors: 10104, and consumer not found."""
        for found in self.queue(queue_id).consumers:
            if found.consumer_id == consumer_id:
                return found
        raise errors.consumer_not_found(consumer_id)

    def update_consumer(self, queue_id: str, consumer_id: str, spec: ConsumerSpec) -> Consumer:
        """Overwrite a consumer. Errors: 10104, and consumer not found."""
        found = self.consumer(queue_id, consumer_id)
        return self._put_consumer(self.queue(queue_id), consumer_id, found.created_ms, spec)

    def delete_consumer(self, queue_id: str, consumer_id: str) -> None:
        """Remove a consumer; its queue's messages stay. Errors: 10104, and consumer not found."""
        self.consumer(queue_id, consumer_id)
        self._db.execute("DELETE FROM consumers WHERE consumer_id = ?", (consumer_id,))

    def _put_consumer(
        self, queue: Queue, consumer_id: str, created_ms: int, spec: ConsumerSpec
    ) -> Consumer:
        if spec.dead_letter_queue:
            self.made_if_missing(spec.dead_letter_queue)
        self._db.execute(
            "INSERT OR REPLACE INTO consumers (queue_id, consumer_id, created_ms, type, settings,"
            " dead_letter_queue, script_name) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                queue.queue_id,
                consumer_id,
                created_ms,
                spec.type,
                json.dumps(dict(spec.settings)),
                spec.dead_letter_queue,
                spec.script_name,
            ),
        )
        return Consumer(consumer_id, queue.queue_name, created_ms, spec)

    # --- event subscriptions

    def create_subscription(self, document: Json) -> Subscription:
        """Create a subscription. Error: 10104 when its queue does not exist."""
        self.queue(document["destination"]["queue_id"])
        now = self._now_ms()
        return self._put_subscription(Subscription(secrets.token_hex(16), now, now, document))

    def subscription(self, subscription_id: str) -> Subscription:
        """Return the subscription of this id. Error: subscription not found."""
        row = self._db.execute(
            f"{_SUBSCRIPTIONS} WHERE subscription_id = ?", (subscription_id,)
        ).fetchone()
        if row is None:
            raise errors.subscription_not_found(subscription_id)
        return _subscription(row)

    def subscriptions(self) -> Sequence[Subscription]:
        """Return all subscriptions, oldest first."""
        rows = self._db.execute(f"{_SUBSCRIPTIONS} ORDER BY created_ms, subscription_id")
        return [_subscription(row) for row in rows]

    def update_subscription(self, subscription_id: str, changes: Json) -> Subscription:
        """Change the named fields. Errors: subscription not found; 10104 for its queue."""
        found = self.subscription(subscription_id)
        document = {**found.document, **changes}
        self.queue(document["destination"]["queue_id"])
        return self._put_subscription(replace(found, modified_ms=self._now_ms(), document=document))

    def delete_subscription(self, subscription_id: str) -> Subscription:
        """Remove a subscription, and return it. Error: subscription not found."""
        found = self.subscription(subscription_id)
        self._db.execute("DELETE FROM subscriptions WHERE subscription_id = ?", (subscription_id,))
        return found

    def _put_subscription(self, made: Subscription) -> Subscription:
        self._db.execute(
            "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)",
            (made.subscription_id, made.created_ms, made.modified_ms, json.dumps(made.document)),
        )
        return made

    # --- event notifications

    def notified_queues(self, bucket: str) -> Sequence[str]:
        """Return the ids of the queues for which a bucket has rules."""
        rows = self._db.execute(
            "SELECT DISTINCT queue_id FROM notification_rules WHERE bucket = ? ORDER BY queue_id",
            (bucket,),
        )
        return [str(row[0]) for row in rows]

    def notification_rules(self, bucket: str, queue_id: str) -> tuple[Queue, Sequence[Json]]:
        """Return the queue, and a bucket's rules for it. Errors: 10104, and none found."""
        queue = self.queue(queue_id)
        rows = self._db.execute(
            "SELECT document FROM notification_rules WHERE bucket = ? AND queue_id = ?"
            " ORDER BY created_ms, rule_id",
            (bucket, queue_id),
        )
        rules = [json.loads(row[0]) for row in rows]
        if not rules:
            raise errors.notifications_not_found(bucket)
        return queue, rules

    def all_notification_rules(self) -> Sequence[NotificationRule]:
        """Return the rules of all buckets."""
        rows = self._db.execute("SELECT bucket, queue_id, document FROM notification_rules")
        return [NotificationRule(bucket, to, json.loads(document)) for bucket, to, document in rows]

    def add_notification_rules(self, bucket: str, queue_id: str, rules: Sequence[Json]) -> None:
        """Add rules to those of a bucket. Errors: 10104; where one overlaps another."""
        self.queue(queue_id)
        for rule in rules:
            made = {"ruleId": secrets.token_hex(16), "createdAt": iso(self._now_ms()), **rule}
            rows = self._db.execute(
                "SELECT document FROM notification_rules WHERE bucket = ?", (bucket,)
            )
            if any(_overlap(rule, json.loads(row[0])) for row in rows):
                raise errors.notifications_overlap(str(rule["prefix"]))
            self._db.execute(
                "INSERT INTO notification_rules VALUES (?, ?, ?, ?, ?)",
                (made["ruleId"], bucket, queue_id, self._now_ms(), json.dumps(made)),
            )

    def delete_notification_rules(self, bucket: str, queue_id: str) -> None:
        """Remove a bucket's rules for a queue. Errors: 10104, and none found."""
        self.notification_rules(bucket, queue_id)
        self._db.execute(
            "DELETE FROM notification_rules WHERE bucket = ? AND queue_id = ?", (bucket, queue_id)
        )

    def _named(self, name: str) -> Queue | None:
        row = self._db.execute(_QUEUES + "WHERE q.queue_name = ?", (name,)).fetchone()
        return None if row is None else self._whole(row)

    def _whole(self, row: tuple) -> Queue:  # type: ignore[type-arg]  # named just below
        """Return the queue of a row of `_QUEUES`, with its consumers."""
        (queue_id, name, jurisdiction, created_ms, modified_ms, delay, paused, retention) = row[:8]
        (count, size, purged_ms) = row[8:]
        consumers = [
            Consumer(each, name, made_ms, ConsumerSpec(kind, json.loads(settings), dead, script))
            for each, made_ms, kind, settings, dead, script in self._db.execute(
                _CONSUMERS, (queue_id,)
            )
        ]
        return Queue(
            queue_id=queue_id,
            queue_name=name,
            jurisdiction=jurisdiction,
            created_ms=created_ms,
            modified_ms=modified_ms,
            settings=QueueSettings(delay, bool(paused), retention),
            backlog_count=count,
            backlog_bytes=size,
            purged_ms=purged_ms,
            consumers=tuple(consumers),
        )


def _settings_row(settings: QueueSettings) -> tuple[int, bool, int]:
    return (
        settings.delivery_delay,
        settings.delivery_paused,
        settings.message_retention_period,
    )


def _overlap(one: Json, other: Json) -> bool:
    """Return whether R2 would tell of one object by both rules."""
    starts = one["prefix"].startswith(other["prefix"]) or other["prefix"].startswith(one["prefix"])
    ends = one["suffix"].endswith(other["suffix"]) or other["suffix"].endswith(one["suffix"])
    return bool(starts and ends and set(one["actions"]) & set(other["actions"]))


def _subscription(row: tuple[str, int, int, str]) -> Subscription:
    subscription_id, created_ms, modified_ms, document = row
    return Subscription(subscription_id, created_ms, modified_ms, json.loads(document))
