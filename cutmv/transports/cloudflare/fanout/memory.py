"""The memory broker: exchanges and temporary queues inside this process.

Cloudflare Queues has no exchanges. Queues that end with their consumer (``auto_delete`` or
``exclusive``: remote control, its replies, event receivers) and their bindings are held here, in
memory: all connections of the process see them. `temporary_queues` brings the messages that other
processes send to them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from kombu.utils.uuid import uuid

#: Messages kept for a temporary queue without a reader; the oldest make room.
MAX_HELD = 1000

#: One row of an exchange's table, as kombu has it: routing key, pattern, queue.
TableRow = tuple[str, str | None, str]

Message = dict[str, Any]


class MemoryBroker:
    """The temporary queues of a process, and their bindings. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, deque[Message]] = {}
        self._expires: dict[str, float | None] = {}
        self._readers: dict[str, Callable[[Message], None]] = {}
        self._were_read: set[str] = set()
        self._tables: dict[str, list[TableRow]] = {}

    def declare(self, queue: str, expires: float | None = None) -> None:
        """Create a temporary queue, if there is none of that name.

        `expires` is after how many seconds without a reader it is deleted; none for never.
        """
        with self._lock:
            self._held.setdefault(queue, deque(maxlen=MAX_HELD))
            self._expires[queue] = expires

    def expires(self, queue: str) -> float | None:
        """Return after how many seconds without a reader `queue` is deleted; none for never."""
        return self._expires.get(queue)

    def has(self, queue: str) -> bool:
        """Return whether `queue` is a temporary queue of this process."""
        return queue in self._held

    def size(self, queue: str) -> int:
        """Return how many messages wait in `queue`."""
        with self._lock:
            return len(self._held.get(queue, ()))

    def delete(self, queue: str) -> None:
        """Remove a queue with its messages and bindings."""
        with self._lock:
            self._held.pop(queue, None)
            self._readers.pop(queue, None)
            self._were_read.discard(queue)
            self._expires.pop(queue, None)
            for exchange, table in list(self._tables.items()):
                table[:] = [binding for binding in table if binding[2] != queue]
                if not table:
                    del self._tables[exchange]

    def purge(self, queue: str) -> int:
        """Drop a queue's messages and return how many there were."""
        with self._lock:
            held = self._held.get(queue)
            count = len(held or ())
            if held:
                held.clear()
            return count

    def bind(self, exchange: str, binding: TableRow) -> None:
        """Add a row to an exchange's table."""
        with self._lock:
            table = self._tables.setdefault(exchange, [])
            if binding not in table:
                table.append(binding)

    def unbind(self, exchange: str, binding: TableRow) -> None:
        """Remove one binding."""
        with self._lock:
            table = self._tables.get(exchange, [])
            if binding in table:
                table.remove(binding)

    def is_read(self, queue: str) -> bool:
        """Return whether `queue` has a reader."""
        return queue in self._readers

    def was_read(self, queue: str) -> bool:
        """Return whether `queue` has a reader, or had one."""
        return queue in self._were_read

    def is_bound(self, queue: str) -> bool:
        """Return whether `queue` is bound to any exchange."""
        with self._lock:
            return any(row[2] == queue for table in self._tables.values() for row in table)

    def table(self, exchange: str) -> list[TableRow]:
        """Return the bindings of temporary queues to `exchange`."""
        with self._lock:
            return list(self._tables.get(exchange, ()))

    def put(self, queue: str, message: Mapping[str, Any]) -> None:
        """Give a copy of `message` to the queue's reader, or keep it until there is one."""
        properties = dict(message["properties"])
        properties["delivery_tag"] = uuid()
        copy = {**message, "headers": dict(message["headers"]), "properties": properties}
        with self._lock:
            reader = self._readers.get(queue)
            if reader is None and queue in self._held:
                self._held[queue].append(copy)
        if reader is not None:
            reader(copy)

    def get(self, queue: str) -> Message | None:
        """Take the oldest message of `queue`, if any."""
        with self._lock:
            held = self._held.get(queue)
            return held.popleft() if held else None

    def consume(self, queue: str, reader: Callable[[Message], None]) -> None:
        """Give `reader` the messages that wait in `queue`, and all that come later."""
        with self._lock:
            self._readers[queue] = reader
            self._were_read.add(queue)
            held = self._held.setdefault(queue, deque(maxlen=MAX_HELD))
            waiting = list(held)
            held.clear()
        for message in waiting:
            reader(message)

    def cancel(self, queue: str) -> None:
        """Stop giving messages of `queue` to its reader."""
        with self._lock:
            self._readers.pop(queue, None)
