"""Messages: pushes, leases, acknowledges, retries and dead-letters them, and drops old ones."""

from __future__ import annotations

import base64
import binascii
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from cutmv.emulator import errors
from cutmv.emulator.model import (
    MAX_BACKLOG_BYTES,
    AckResult,
    ConsumerSpec,
    Delivery,
    Metrics,
    NewMessage,
    Queue,
    Retry,
    operations,
)
from cutmv.emulator.store.registry import Registry

#: Messages from which a reordered pull picks its batch, as a multiple of the batch.
REORDER_WINDOW = 10

#: seq, message_id, body, content_type, attempts, created_ms, is_copy.
_Row = tuple[int, str, bytes, str, int, int, int]


class Messages:
    """The messages of all queues; methods may raise the `ApiError` with which a call is refused.

    Methods that read a queue's messages first settle its overdue ones (kept too long, or delivered
    too often).
    """

    def __init__(
        self, db: sqlite3.Connection, now_ms: Callable[[], int], registry: Registry
    ) -> None:
        self._db = db
        self._now_ms = now_ms
        self._registry = registry

    def push(self, queue_id: str, messages: Iterable[NewMessage]) -> Metrics:
        """Put messages into a queue. Errors: 10104; 10251 when it is full."""
        queue, now = self._registry.queue(queue_id), self._now_ms()
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
        """Lease waiting messages, longest waiting first, or in the order that `shuffle` gives.

        A `batch_size` or `visibility_ms` of None stands for the consumer's setting. Errors: 10104,
        and pull not enabled when the queue has no `http_pull` consumer.
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
        self,
        queue_id: str,
        acks: Iterable[str],
        retries: Iterable[Retry],
        *,
        late_acks: bool = True,
    ) -> AckResult:
        """End leases: remove acked messages, and return retried ones. Error: 10104.

        An ack by an expired lease still counts, even when the message is leased again by then,
        unless `late_acks` is false. A retry by such a lease does not count, since the message came
        back already.
        """
        queue = self._settled(queue_id)
        warnings: dict[str, str] = {}
        acked = retried = deletes = 0
        for lease_id in acks:
            seq = self._leased(queue_id, lease_id, current=not late_acks, expired=late_acks)
            if seq is None:
                warnings[lease_id] = "lease is unknown, or its message is no longer in the queue"
                continue
            size = self._one("DELETE FROM messages WHERE seq = ? RETURNING size", seq)
            deletes += operations(size)
            acked += 1
        spec = queue.consumer.spec if queue.consumer else None
        for retry in retries:
            seq = self._leased(queue_id, retry.lease_id, current=True)
            if seq is None:
                warnings[retry.lease_id] = "lease is unknown, or its message was delivered again"
                continue
            delay = _first(retry.delay, spec.settings["retry_delay"] if spec else 0)
            # After the last attempt there is no delay: the message is settled at the next call.
            self._db.execute(
                "UPDATE messages SET leased_ms = NULL, visible_ms = ? +"
                " CASE WHEN attempts > ? THEN 0 ELSE ? END WHERE seq = ?",
                (self._now_ms(), _max_retries(spec), delay * 1000, seq),
            )
            retried += 1
        return AckResult(acked, retried, warnings, deletes)

    def remove(self, queue_id: str, refs: Iterable[str]) -> dict[str, str]:
        """Delete messages by the `ref` of a peek; return warnings by ref. Error: 10104."""
        self._settled(queue_id)
        warnings = {}
        for ref in refs:
            seq = self._leased(queue_id, ref, current=False)
            if seq is None:
                warnings[ref] = "ref is unknown, or its message is no longer in the queue"
                continue
            self._db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
        return warnings

    def purge_queue(self, queue_id: str) -> Queue:
        """Delete all messages of a queue, the leased ones too. Error: 10104."""
        self._registry.queue(queue_id)
        self._db.execute("DELETE FROM messages WHERE queue_id = ?", (queue_id,))
        self._db.execute(
            "UPDATE queues SET purged_ms = ? WHERE queue_id = ?", (self._now_ms(), queue_id)
        )
        return self._registry.queue(queue_id)

    def metrics(self, queue_id: str) -> Metrics:
        """Return a queue's backlog. Error: 10104."""
        queue = self._settled(queue_id)
        oldest = self._one("SELECT min(created_ms) FROM messages WHERE queue_id = ?", queue_id)
        return Metrics(queue.backlog_count, queue.backlog_bytes, oldest or 0)

    def ready(self, queue_id: str) -> int:
        """Return how many messages of a queue can be pulled now."""
        return self._one(
            "SELECT count(*) FROM messages WHERE queue_id = ? AND visible_ms <= ?",
            queue_id,
            self._now_ms(),
        )

    def copy(self, queue_id: str, message_ids: Iterable[str]) -> None:
        """Put copies of messages just pulled into their queue, to repeat their delivery."""
        self._db.executemany(
            "INSERT INTO messages (queue_id, message_id, created_ms, visible_ms, attempts,"
            " is_copy, content_type, size, body)"
            " SELECT queue_id, message_id, created_ms, ?, attempts - 1, 1, content_type, size, body"
            " FROM messages WHERE queue_id = ? AND message_id = ? AND NOT is_copy",
            [(self._now_ms(), queue_id, message_id) for message_id in message_ids],
        )

    def leases(self) -> int:
        """Return how many messages are leased now."""
        return self._one(
            "SELECT count(*) FROM messages WHERE leased_ms IS NOT NULL AND visible_ms > ?",
            self._now_ms(),
        )

    def backlogs(self) -> dict[str, int]:
        """Return how many messages each queue holds, by queue name."""
        rows = self._db.execute("SELECT queue_id, queue_name FROM queues ORDER BY queue_name")
        return {name: self.metrics(queue_id).count for queue_id, name in rows.fetchall()}

    def _settled(self, queue_id: str) -> Queue:
        """Settle overdue messages of a queue and of its dead letters' sources; return the queue."""
        queue = self._registry.queue(queue_id)
        sources = self._registry.sources_of_dead_letters(queue)
        moved = [self._settle(each) for each in (*sources, queue)]
        return self._registry.queue(queue_id) if any(moved) else queue

    def _settle(self, queue: Queue) -> bool:
        """Drop messages kept too long, dead-letter those that failed too often; return if any."""
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
            target = self._registry.made_if_missing(spec.dead_letter_queue)
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

    def _leased(
        self, queue_id: str, handle: str, *, current: bool, expired: bool = True
    ) -> int | None:
        """Return the row of a handle; with `current`, only if no later lease was given.

        Without `expired`, only while the lease is not over.
        """
        parsed = _parse_handle(handle)
        if parsed is None:
            return None
        seq, attempt, message_id = parsed
        row = self._db.execute(
            "SELECT attempts, leased_ms, visible_ms FROM messages"
            " WHERE seq = ? AND queue_id = ? AND message_id = ?",
            (seq, queue_id, message_id),
        ).fetchone()
        if row is None or attempt > row[0]:
            return None
        if current and (attempt != row[0] or row[1] is None):
            return None
        if not expired and row[2] <= self._now_ms():
            return None
        return seq

    def _one(self, statement: str, *values: str | int | None) -> int:
        """Return the one number that a statement selects."""
        return self._db.execute(statement, values).fetchone()[0]  # type: ignore[no-any-return]


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
    """Return a lease id or ref, which finds its row without an index, and ends with the row."""
    return base64.urlsafe_b64encode(f"{seq}:{attempt}:{message_id}".encode()).decode()


def _parse_handle(handle: str) -> tuple[int, int, str] | None:
    try:
        seq, attempt, message_id = base64.urlsafe_b64decode(handle).decode().split(":")
        return int(seq), int(attempt), message_id
    except (ValueError, binascii.Error):
        return None


def _max_retries(spec: ConsumerSpec | None) -> int:
    """Return a consumer's `max_retries`; without one, no limit, since nothing is delivered."""
    return spec.settings["max_retries"] if spec else 1 << 30


def _first(value: int | None, default: int) -> int:
    """Return `value`, or `default` if it is None; 0 is a value."""
    return default if value is None else value
