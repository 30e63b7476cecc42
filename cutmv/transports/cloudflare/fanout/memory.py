"""The memory broker: exchanges, bindings and temporary queues inside this process.

Cloudflare Queues has no exchanges. Queues that end with their consumer (``auto_delete`` or
``exclusive``: remote control, its replies, event receivers) are held here, in memory, and so are
all bindings that this process made: all its connections see them. `temporary_queues` brings the
messages that other processes send to temporary queues.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kombu.utils.uuid import uuid

from cutmv.transports.cloudflare.messages import expiry, priority
from cutmv.transports.cloudflare.queues import QueueArguments

#: Messages kept for a temporary queue without a reader; the oldest make room.
MAX_HELD = 1000

#: Seconds after which an auto-delete queue is deleted whose last consumer was cancelled. RabbitMQ
#: deletes it at once; here that would cost metered calls each time a client waits for a reply.
UNUSED_AFTER = 30.0

#: Such queues kept meanwhile; the oldest are deleted before their time.
MAX_UNUSED = 8

#: Names of queues remembered that were deleted because nobody used them.
MAX_DELETED = 1000

#: One row of an exchange's table, as kombu has it: routing key, pattern, queue.
TableRow = tuple[str, str | None, str]

Message = dict[str, Any]
Reader = Callable[[Message], None]


@dataclass(slots=True)
class _Temporary:
    """A temporary queue: its messages, and who reads it. `unread_since` is by `time.monotonic`."""

    arguments: QueueArguments
    waiting: priority.Waiting[Message] = field(default_factory=priority.Waiting)
    readers: list[Reader] = field(default_factory=list)
    was_read: bool = False
    unread_since: float = field(default_factory=time.monotonic)


class MemoryBroker:
    """The exchanges and temporary queues of a process, and its bindings. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, _Temporary] = {}
        self._types: dict[str, str] = {}
        self._tables: dict[str, list[TableRow]] = {}
        self._unreachable: set[str] = set()
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._ttls: dict[str, float] = {}

    # Temporary queues.

    def declare(self, queue: str, arguments: QueueArguments | None = None) -> None:
        """Create a temporary queue, if there is none of that name."""
        arguments = arguments or QueueArguments()
        with self._lock:
            known = self._queues.get(queue)
            self._deleted.pop(queue, None)
            if known is None:
                self._queues[queue] = _Temporary(arguments)
                self._unreachable.add(queue)
            else:
                known.arguments, known.unread_since = arguments, time.monotonic()

    def expires(self, queue: str) -> float | None:
        """Return after how many seconds without a reader `queue` is deleted; none for never."""
        known = self._queues.get(queue)
        return known.arguments.expires if known else None

    def message_ttl(self, queue: str) -> float | None:
        """Return for how many seconds a message may wait in `queue`; none for any time."""
        known = self._queues.get(queue)
        return known.arguments.message_ttl if known else None

    def has(self, queue: str) -> bool:
        """Return whether `queue` is a temporary queue of this process."""
        return queue in self._queues

    def size(self, queue: str) -> int:
        """Return how many messages wait in `queue`."""
        with self._lock:
            known = self._queues.get(queue)
            if known is None:
                return 0
            self._expire(known)
            return len(known.waiting)

    def sizes(self) -> dict[str, int]:
        """Return how many messages wait in each temporary queue."""
        with self._lock:
            return {name: len(known.waiting) for name, known in self._queues.items()}

    def delete(self, queue: str) -> None:
        """Remove a queue with its messages and bindings; a durable queue has bindings alone."""
        with self._lock:
            self._queues.pop(queue, None)
            self._unreachable.discard(queue)
            for exchange, table in list(self._tables.items()):
                table[:] = [row for row in table if row[2] != queue]
                if not table:
                    del self._tables[exchange]

    def purge(self, queue: str) -> int:
        """Drop a queue's messages and return how many there were."""
        with self._lock:
            known = self._queues.get(queue)
            if known is None:
                return 0
            count = len(known.waiting)
            known.waiting.clear()
            return count

    def idle_for(self, queue: str) -> float:
        """Return the seconds since a queue was last read, got from or declared."""
        known = self._queues.get(queue)
        if known is None or known.readers:
            return 0.0
        return time.monotonic() - known.unread_since

    def unused(self) -> list[str]:
        """Return the queues to delete, since they have had consumers and have none any more."""
        latest = time.monotonic() - UNUSED_AFTER
        with self._lock:
            idle = sorted(
                (known.unread_since, name)
                for name, known in self._queues.items()
                if known.was_read and not known.readers
            )
        too_many = max(0, len(idle) - MAX_UNUSED)
        return [name for n, (since, name) in enumerate(idle) if since < latest or n < too_many]

    def delete_unused(self, queue: str) -> None:
        """Delete a queue that nobody uses any more, and remember its name."""
        self.delete(queue)
        with self._lock:
            self._deleted[queue] = None
            while len(self._deleted) > MAX_DELETED:
                self._deleted.popitem(last=False)

    def was_deleted(self, queue: str) -> bool:
        """Return whether `queue` was deleted because nobody used it, and not declared again."""
        return queue in self._deleted

    # Durable queues: what this process was told of them.

    def declare_durable(self, queue: str, seconds: float | None) -> None:
        """Note for how long messages may wait in a durable queue; none for any time."""
        self._deleted.pop(queue, None)
        if seconds is None:
            self._ttls.pop(queue, None)
        else:
            self._ttls[queue] = seconds

    def ttl(self, queue: str) -> float | None:
        """Return for how long messages may wait in a durable queue; none for any time."""
        return self._ttls.get(queue)

    # Exchanges and bindings.

    def declare_exchange(self, exchange: str, exchange_type: str) -> None:
        """Note the type of an exchange."""
        self._types[exchange] = exchange_type

    def exchange_type(self, exchange: str) -> str | None:
        """Return the type of an exchange, if this process has declared it."""
        return self._types.get(exchange)

    def delete_exchange(self, exchange: str) -> None:
        """Forget an exchange and its bindings."""
        with self._lock:
            self._types.pop(exchange, None)
            self._tables.pop(exchange, None)

    def bind(self, exchange: str, row: TableRow) -> None:
        """Add a row to an exchange's table."""
        with self._lock:
            table = self._tables.setdefault(exchange, [])
            if row not in table:
                table.append(row)
            self._unreachable.discard(row[2])

    def unbind(self, exchange: str, row: TableRow) -> None:
        """Remove one binding."""
        with self._lock:
            table = self._tables.get(exchange, [])
            if row in table:
                table.remove(row)
            if not table:
                self._tables.pop(exchange, None)

    def is_bound(self, queue: str) -> bool:
        """Return whether `queue` is bound to any exchange."""
        return any(True for _ in self.bindings(queue))

    def bindings(self, queue: str) -> list[tuple[str, str]]:
        """Return the exchanges and keys to which `queue` is bound."""
        with self._lock:
            return [
                (exchange, row[0])
                for exchange, table in self._tables.items()
                for row in table
                if row[2] == queue
            ]

    def table(self, exchange: str) -> list[TableRow]:
        """Return the bindings of an exchange."""
        with self._lock:
            return list(self._tables.get(exchange, ()))

    @property
    def unreachable(self) -> tuple[str, ...]:
        """The temporary queues that no binding leads to, so that no other process reaches them."""
        if not self._unreachable:
            return ()
        with self._lock:
            return tuple(self._unreachable)

    def made_reachable(self, queue: str) -> None:
        """Note that the default exchange leads to a queue."""
        with self._lock:
            self._unreachable.discard(queue)

    # Messages.

    def put(self, queue: str, message: Mapping[str, Any]) -> None:
        """Give a copy of `message` to one of the queue's readers, or keep it until there is one."""
        properties = dict(message["properties"])
        properties["delivery_tag"] = uuid()
        copy = {**message, "headers": dict(message["headers"]), "properties": properties}
        with self._lock:
            known = self._queues.get(queue)
            if known is None:
                return
            expiry.stamp(copy, known.arguments.message_ttl)
            if known.readers:
                reader = known.readers[0]
                known.readers.append(known.readers.pop(0))
            else:
                self._keep(known, copy)
                return
        reader(copy)

    def put_back(self, queue: str, message: Message) -> None:
        """Return a message that was not handled: it is the first that comes next."""
        with self._lock:
            known = self._queues.get(queue)
            if known is None:
                return
            reader = known.readers[0] if known.readers else None
            if reader is None:
                known.waiting.put_back(message, priority.of(message))
        if reader is not None:
            reader(message)

    def get(self, queue: str) -> Message | None:
        """Take the most urgent message of `queue`, of equal ones the oldest, if any."""
        with self._lock:
            known = self._queues.get(queue)
            if known is None:
                return None
            known.unread_since = time.monotonic()
            self._expire(known)
            return known.waiting.take() if known.waiting else None

    # Readers.

    def consume(self, queue: str, reader: Reader) -> None:
        """Give `reader` the messages that wait in `queue`, and those that come later, in turn."""
        with self._lock:
            known = self._queues.setdefault(queue, _Temporary(QueueArguments()))
            known.readers.append(reader)
            known.was_read = True
            self._expire(known)
            waiting = list(known.waiting)
            known.waiting.clear()
        for message in waiting:
            reader(message)

    def cancel(self, queue: str, reader: Reader) -> None:
        """Stop giving messages of `queue` to a reader."""
        with self._lock:
            known = self._queues.get(queue)
            if known is not None and reader in known.readers:
                known.readers.remove(reader)
                known.unread_since = time.monotonic()

    def readers(self, queue: str) -> int:
        """Return how many readers `queue` has."""
        known = self._queues.get(queue)
        return len(known.readers) if known else 0

    def is_read(self, queue: str) -> bool:
        """Return whether `queue` has a reader."""
        return bool(self.readers(queue))

    def was_read(self, queue: str) -> bool:
        """Return whether `queue` has a reader, or had one."""
        known = self._queues.get(queue)
        return bool(known and known.was_read)

    def _keep(self, known: _Temporary, message: Message) -> None:
        longest = known.arguments.max_length
        longest = MAX_HELD if longest is None else min(longest, MAX_HELD)
        known.waiting.add(message, priority.of(message))
        while len(known.waiting) > longest:
            known.waiting.drop_oldest()

    def _expire(self, known: _Temporary) -> None:
        """Drop the messages past their TTL."""
        left = [message for message in known.waiting if not expiry.is_over(message)]
        if len(left) == len(known.waiting):
            return
        known.waiting.clear()
        for message in left:
            known.waiting.add(message, priority.of(message))
