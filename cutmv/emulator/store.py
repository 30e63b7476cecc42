"""All the SQL: queues, consumers and messages in one SQLite file.

Synchronous, one connection, used by one thread. The methods neither begin nor commit: `commit`
wraps many of them in one transaction. Time comes in through `now_ms`, so a test may turn the clock.

A message row is in one of these states, told by its columns alone, so no timer moves it:
delayed (`visible_ms` ahead, `leased_ms` null), waiting (`visible_ms` past), leased (`visible_ms`
ahead, `leased_ms` set). What is overdue (kept too long, or delivered too often) is settled before
anything looks at its queue.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cutmv.emulator import errors
from cutmv.emulator.model import (
    MAX_BACKLOG_BYTES,
    MAX_QUEUES,
    AckResult,
    Consumer,
    ConsumerSpec,
    Delivery,
    Metrics,
    NewMessage,
    Queue,
    QueueSettings,
    Retry,
)

#: Messages that a reordered pull picks its batch from, as a multiple of the batch.
REORDER_WINDOW = 10

#: NORMAL syncs at checkpoints only: what was committed survives the process's death, not a
#: power cut, which no test of ours can make.
_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queues (
    queue_id TEXT PRIMARY KEY,
    queue_name TEXT NOT NULL UNIQUE,
    jurisdiction TEXT,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    delivery_delay INTEGER NOT NULL,
    delivery_paused INTEGER NOT NULL,
    message_retention_period INTEGER NOT NULL,
    backlog_count INTEGER NOT NULL DEFAULT 0,
    backlog_bytes INTEGER NOT NULL DEFAULT 0,
    purged_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consumers (
    queue_id TEXT PRIMARY KEY REFERENCES queues ON DELETE CASCADE,
    consumer_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    settings TEXT NOT NULL,
    dead_letter_queue TEXT NOT NULL,
    script_name TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS consumers_by_dead_letter_queue ON consumers (dead_letter_queue);
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    visible_ms INTEGER NOT NULL,
    leased_ms INTEGER,
    attempts INTEGER NOT NULL,
    is_copy INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_visibility ON messages (queue_id, visible_ms);
CREATE INDEX IF NOT EXISTS messages_by_age ON messages (queue_id, created_ms);
CREATE INDEX IF NOT EXISTS messages_by_attempts ON messages (queue_id, attempts)
    WHERE attempts > 0;
CREATE TRIGGER IF NOT EXISTS count_in AFTER INSERT ON messages BEGIN
    UPDATE queues SET backlog_count = backlog_count + 1, backlog_bytes = backlog_bytes + new.size
    WHERE queue_id = new.queue_id;
END;
CREATE TRIGGER IF NOT EXISTS count_out AFTER DELETE ON messages BEGIN
    UPDATE queues SET backlog_count = backlog_count - 1, backlog_bytes = backlog_bytes - old.size
    WHERE queue_id = old.queue_id;
END;
CREATE TRIGGER IF NOT EXISTS count_over AFTER UPDATE OF queue_id ON messages BEGIN
    UPDATE queues SET backlog_count = backlog_count - 1, backlog_bytes = backlog_bytes - old.size
    WHERE queue_id = old.queue_id;
    UPDATE queues SET backlog_count = backlog_count + 1, backlog_bytes = backlog_bytes + new.size
    WHERE queue_id = new.queue_id;
END;
"""

_QUEUES = """
SELECT q.queue_id, q.queue_name, q.jurisdiction, q.created_ms, q.modified_ms, q.delivery_delay,
    q.delivery_paused, q.message_retention_period, q.backlog_count, q.backlog_bytes, q.purged_ms,
    c.consumer_id, c.created_ms, c.type, c.settings, c.dead_letter_queue, c.script_name
FROM queues q LEFT JOIN consumers c USING (queue_id)
"""

#: seq, message_id, body, content_type, attempts, created_ms, is_copy.
_Row = tuple[int, str, bytes, str, int, int, int]


class Store:
    """Queues, consumers and messages; every method may raise the `ApiError` its call answers."""

    def __init__(self, path: Path | str, now_ms: Callable[[], int]) -> None:
        # Autocommit: transactions are begun and ended by whoever groups the calls.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._now_ms = now_ms
        self._db.executescript(_PRAGMAS + _SCHEMA)

    def close(self) -> None:
        """Fold the write-ahead log into the file, and let go of it."""
        self._db.close()

    def execute(self, statement: str) -> None:
        """A statement of transaction control."""
        self._db.execute(statement)

    # --- queues

    def create_queue(
        self, name: str, jurisdiction: str | None = None, settings: QueueSettings | None = None
    ) -> Queue:
        """A new, empty queue. Errors: 11009 when the name is taken, 11006 at 10,000 queues."""
        if self._queue_named(name):
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
        """The queue of this id. Error: 10104."""
        row = self._db.execute(_QUEUES + "WHERE q.queue_id = ?", (queue_id,)).fetchone()
        if row is None:
            raise errors.queue_not_found(queue_id)
        return _queue(row)

    def queues(self, *, name: str | None, limit: int, offset: int) -> Sequence[Queue]:
        """A page of queues, oldest first; with a `name`, that one alone."""
        rows = self._db.execute(
            _QUEUES + "WHERE ?1 IS NULL OR q.queue_name = ?1"
            " ORDER BY q.created_ms, q.queue_id LIMIT ?2 OFFSET ?3",
            (name, limit, offset),
        )
        return [_queue(row) for row in rows]

    def count_queues(self, name: str | None = None) -> int:
        """How many queues there are; with a `name`, how many are called so."""
        return self._one("SELECT count(*) FROM queues WHERE ?1 IS NULL OR queue_name = ?1", name)

    def update_queue(self, queue_id: str, name: str, settings: QueueSettings) -> Queue:
        """Rename a queue and set its settings. Errors: 10104; 11009 when the name is taken."""
        other = self._queue_named(name)
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

    def purge_queue(self, queue_id: str) -> Queue:
        """Delete all messages of a queue, the leased ones too. Error: 10104."""
        self.queue(queue_id)
        self._db.execute("DELETE FROM messages WHERE queue_id = ?", (queue_id,))
        self._db.execute(
            "UPDATE queues SET purged_ms = ? WHERE queue_id = ?", (self._now_ms(), queue_id)
        )
        return self.queue(queue_id)

    def reset(self) -> None:
        """Remove everything."""
        for table in ("messages", "consumers", "queues"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our own

    # --- consumers

    def create_consumer(self, queue_id: str, spec: ConsumerSpec) -> Consumer:
        """The queue's one consumer. Errors: 10104; 11004 when it has one."""
        queue = self.queue(queue_id)
        if queue.consumer:
            raise errors.consumer_exists(queue.queue_name)
        return self._put_consumer(queue, secrets.token_hex(16), self._now_ms(), spec)

    def consumer(self, queue_id: str, consumer_id: str) -> Consumer:
        """The consumer of this id on this queue. Errors: 10104, and consumer not found."""
        found = self.queue(queue_id).consumer
        if found is None or found.consumer_id != consumer_id:
            raise errors.consumer_not_found(consumer_id)
        return found

    def update_consumer(self, queue_id: str, consumer_id: str, spec: ConsumerSpec) -> Consumer:
        """Overwrite a consumer. Errors: 10104, and consumer not found."""
        found = self.consumer(queue_id, consumer_id)
        return self._put_consumer(self.queue(queue_id), consumer_id, found.created_ms, spec)

    def delete_consumer(self, queue_id: str, consumer_id: str) -> None:
        """Remove a consumer; its queue's messages stay. Errors: 10104, and consumer not found."""
        self.consumer(queue_id, consumer_id)
        self._db.execute("DELETE FROM consumers WHERE queue_id = ?", (queue_id,))

    def _put_consumer(
        self, queue: Queue, consumer_id: str, created_ms: int, spec: ConsumerSpec
    ) -> Consumer:
        if spec.dead_letter_queue:
            self._queue_made_if_missing(spec.dead_letter_queue)
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

    # --- messages

    def push(self, queue_id: str, messages: Iterable[NewMessage]) -> Metrics:
        """Put messages into a queue. Errors: 10104; 10251 when it is full."""
        queue, now = self.queue(queue_id), self._now_ms()
        if queue.backlog_bytes >= MAX_BACKLOG_BYTES:
            raise errors.storage_full(MAX_BACKLOG_BYTES)
        self._db.executemany(
            "INSERT INTO messages (queue_id, message_id, created_ms, visible_ms, attempts,"
            " is_copy, content_type, size, body) VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?)",
            [
                (
                    queue_id,
                    secrets.token_hex(16),
                    now,
                    now + 1000 * _first(each.delay, queue.settings.delivery_delay),
                    each.content_type,
                    len(each.body),
                    each.body,
                )
                for each in messages
            ],
        )
        return self.metrics(queue_id)

    def pull(
        self,
        queue_id: str,
        *,
        batch_size: int | None = None,
        visibility_ms: int | None = None,
        shuffle: random.Random | None = None,
    ) -> Sequence[Delivery]:
        """Lease waiting messages, longest waiting first, or in the order `shuffle` gives.

        A `batch_size` or `visibility_ms` of None takes the consumer's setting. Errors: 10104, and
        pull not enabled when the queue has no `http_pull` consumer.
        """
        queue = self._settled(queue_id)
        if queue.consumer is None or queue.consumer.spec.type != "http_pull":
            raise errors.pull_not_enabled(queue.queue_name)
        if queue.settings.delivery_paused:
            return []
        settings, now = queue.consumer.spec.settings, self._now_ms()
        wanted = _first(batch_size, settings["batch_size"])
        rows = self._waiting(queue_id, wanted * (REORDER_WINDOW if shuffle else 1))
        if shuffle:
            shuffle.shuffle(rows)
        rows = rows[:wanted]
        visible_ms = now + _first(visibility_ms, settings["visibility_timeout_ms"])
        self._db.executemany(
            "UPDATE messages SET attempts = attempts + 1, leased_ms = ?, visible_ms = ?"
            " WHERE seq = ?",
            [(now, visible_ms, row[0]) for row in rows],
        )
        return [_delivery(row, attempts=row[4] + 1) for row in rows]

    def peek(self, queue_id: str, batch_size: int) -> Sequence[Delivery]:
        """Show waiting messages without leasing them. Error: 10104."""
        self._settled(queue_id)
        return [_delivery(row, attempts=row[4]) for row in self._waiting(queue_id, batch_size)]

    def acknowledge(
        self, queue_id: str, acks: Iterable[str], retries: Iterable[Retry]
    ) -> AckResult:
        """End leases: acked messages go, retried ones come back. Error: 10104.

        An acknowledgement by a lease that ran out still counts, even when the message is leased
        again by then. A retry by one that was leased again does not: it is back already.
        """
        queue = self._settled(queue_id)
        warnings: dict[str, str] = {}
        acked = retried = 0
        for lease_id in acks:
            seq = self._leased(queue_id, lease_id, current=False)
            if seq is None:
                warnings[lease_id] = "lease is unknown, or its message is no longer in the queue"
                continue
            self._db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
            acked += 1
        spec = queue.consumer.spec if queue.consumer else None
        for retry in retries:
            seq = self._leased(queue_id, retry.lease_id, current=True)
            if seq is None:
                warnings[retry.lease_id] = "lease is unknown, or its message was delivered again"
                continue
            delay = _first(retry.delay, spec.settings["retry_delay"] if spec else 0)
            # The last attempt has nothing to wait for: it is settled at the next look.
            self._db.execute(
                "UPDATE messages SET leased_ms = NULL, visible_ms = ?1 +"
                " CASE WHEN attempts > ?2 THEN 0 ELSE ?3 END WHERE seq = ?4",
                (self._now_ms(), _max_retries(spec), delay * 1000, seq),
            )
            retried += 1
        return AckResult(acked, retried, warnings)

    def purge_messages(self, queue_id: str, refs: Iterable[str]) -> dict[str, str]:
        """Delete messages by the `ref` a peek gave; answers warnings by ref. Error: 10104."""
        self._settled(queue_id)
        warnings = {}
        for ref in refs:
            seq = self._leased(queue_id, ref, current=False)
            if seq is None:
                warnings[ref] = "ref is unknown, or its message is no longer in the queue"
                continue
            self._db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
        return warnings

    def metrics(self, queue_id: str) -> Metrics:
        """A queue's backlog. Error: 10104."""
        queue = self._settled(queue_id)
        oldest = self._one("SELECT min(created_ms) FROM messages WHERE queue_id = ?", queue_id)
        return Metrics(queue.backlog_count, queue.backlog_bytes, oldest or 0)

    def copy(self, queue_id: str, message_ids: Iterable[str]) -> None:
        """Put a second copy of messages into their queue, as the fault `duplicate` wants."""
        self._db.executemany(
            "INSERT INTO messages (queue_id, message_id, created_ms, visible_ms, attempts,"
            " is_copy, content_type, size, body)"
            " SELECT queue_id, message_id, created_ms, ?, attempts, 1, content_type, size, body"
            " FROM messages WHERE queue_id = ? AND message_id = ? AND NOT is_copy",
            [(self._now_ms(), queue_id, message_id) for message_id in message_ids],
        )

    def leases(self) -> int:
        """How many messages are leased now."""
        return self._one(
            "SELECT count(*) FROM messages WHERE leased_ms IS NOT NULL AND visible_ms > ?",
            self._now_ms(),
        )

    def backlogs(self) -> dict[str, int]:
        """How many messages each queue holds, by queue name."""
        rows = self._db.execute("SELECT queue_id, queue_name FROM queues ORDER BY queue_name")
        return {name: self.metrics(queue_id).count for queue_id, name in rows.fetchall()}

    # --- inside

    def _settled(self, queue_id: str) -> Queue:
        """The queue, after what is overdue in it, and in those whose dead letters it takes."""
        queue = self.queue(queue_id)
        sources = self._db.execute(
            "SELECT queue_id FROM consumers WHERE dead_letter_queue = ? AND queue_id != ?",
            (queue.queue_name, queue_id),
        ).fetchall()
        moved = [self._settle(self.queue(source)) for (source,) in sources]
        moved.append(self._settle(queue))
        return self.queue(queue_id) if any(moved) else queue

    def _settle(self, queue: Queue) -> bool:
        """Drop what was kept too long, dead-letter what failed too often; tell if any was."""
        now = self._now_ms()
        dropped = self._db.execute(
            "DELETE FROM messages WHERE queue_id = ? AND created_ms <= ?",
            (queue.queue_id, now - 1000 * queue.settings.message_retention_period),
        ).rowcount
        spec = queue.consumer.spec if queue.consumer else None
        dead = self._db.execute(
            "SELECT seq FROM messages WHERE queue_id = ? AND attempts > 0 AND attempts > ?"
            " AND visible_ms <= ?",
            (queue.queue_id, _max_retries(spec), now),
        ).fetchall()
        if dead and spec and spec.dead_letter_queue:
            target = self._queue_made_if_missing(spec.dead_letter_queue)
            self._db.executemany(
                "UPDATE messages SET queue_id = ?, created_ms = ?, visible_ms = ?,"
                " leased_ms = NULL, attempts = 0 WHERE seq = ?",
                [
                    (target.queue_id, now, now + 1000 * target.settings.delivery_delay, seq)
                    for (seq,) in dead
                ],
            )
        elif dead:
            self._db.executemany("DELETE FROM messages WHERE seq = ?", dead)
        return bool(dropped or dead)

    def _waiting(self, queue_id: str, limit: int) -> list[_Row]:
        return self._db.execute(
            "SELECT seq, message_id, body, content_type, attempts, created_ms, is_copy"
            " FROM messages WHERE queue_id = ? AND visible_ms <= ?"
            " ORDER BY visible_ms, seq LIMIT ?",
            (queue_id, self._now_ms(), limit),
        ).fetchall()

    def _leased(self, queue_id: str, handle: str, *, current: bool) -> int | None:
        """The row a handle means; with `current`, only when no later lease was given."""
        parsed = _parse_handle(handle)
        if parsed is None:
            return None
        seq, attempt, message_id = parsed
        row = self._db.execute(
            "SELECT attempts, leased_ms FROM messages"
            " WHERE seq = ? AND queue_id = ? AND message_id = ?",
            (seq, queue_id, message_id),
        ).fetchone()
        if row is None or attempt > row[0]:
            return None
        if current and (attempt != row[0] or row[1] is None):
            return None
        return seq

    def _queue_named(self, name: str) -> Queue | None:
        row = self._db.execute(_QUEUES + "WHERE q.queue_name = ?", (name,)).fetchone()
        return None if row is None else _queue(row)

    def _queue_made_if_missing(self, name: str) -> Queue:
        """Cloudflare makes a missing dead-letter queue by itself."""
        return self._queue_named(name) or self.create_queue(name)

    def _one(self, statement: str, *values: str | int | None) -> int:
        """The one number a statement answers."""
        return self._db.execute(statement, values).fetchone()[0]  # type: ignore[no-any-return]


def _settings_row(settings: QueueSettings) -> tuple[int, bool, int]:
    return (
        settings.delivery_delay,
        settings.delivery_paused,
        settings.message_retention_period,
    )


def _queue(row: tuple) -> Queue:  # type: ignore[type-arg]  # seventeen columns, named just below
    (queue_id, name, jurisdiction, created_ms, modified_ms, delay, paused, retention) = row[:8]
    (count, size, purged_ms) = row[8:11]
    (consumer_id, consumer_created_ms, kind, settings, dead_letters, script) = row[11:]
    consumer = None
    if consumer_id is not None:
        spec = ConsumerSpec(kind, json.loads(settings), dead_letters, script)
        consumer = Consumer(consumer_id, name, consumer_created_ms, spec)
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
        consumer=consumer,
    )


def _delivery(row: _Row, *, attempts: int) -> Delivery:
    seq, message_id, body, content_type, _, created_ms, is_copy = row
    return Delivery(
        message_id=message_id,
        handle=_handle(seq, attempts, message_id),
        body=body,
        content_type=content_type,
        attempts=attempts,
        created_ms=created_ms,
        is_copy=bool(is_copy),
    )


def _handle(seq: int, attempt: int, message_id: str) -> str:
    """A lease id or ref: it finds its row without an index, and dies with the row."""
    return base64.urlsafe_b64encode(f"{seq}:{attempt}:{message_id}".encode()).decode()


def _parse_handle(handle: str) -> tuple[int, int, str] | None:
    try:
        seq, attempt, message_id = base64.urlsafe_b64decode(handle).decode().split(":")
        return int(seq), int(attempt), message_id
    except (ValueError, binascii.Error):
        return None


def _max_retries(spec: ConsumerSpec | None) -> int:
    """Without a consumer nothing is delivered, so nothing is delivered too often."""
    return spec.settings["max_retries"] if spec else 1 << 30


def _first(value: int | None, default: int) -> int:
    """`value`, unless it is None; 0 is a value."""
    return default if value is None else value
