"""The ready queue: messages that have been received and the consumer's loop has not taken yet."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from queue import Empty
from typing import Any, Generic, TypeVar

from cutmv.transports.cloudflare.messages import priority

C = TypeVar("C")


class ReadyQueue(Generic[C]):
    """Holds ready messages for several consumers, and gives them out by priority, then in turn.

    `priority_of` returns a message's priority: 0 is the most urgent. Any thread may put messages;
    one thread takes them. A loop that polls file descriptors watches `fileno`; a loop that blocks
    calls `get`.
    """

    def __init__(self, priority_of: Callable[[Any], int] = lambda _: 0) -> None:
        self._priority_of = priority_of
        self._change = threading.Condition()
        self._ready: OrderedDict[C, priority.Waiting[Any]] = OrderedDict()
        self._error: Exception | None = None
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None

    def fileno(self) -> int:
        """Return the descriptor that is readable while there is a message or an error to take."""
        with self._change:
            if self._reader is None:
                self._reader, self._writer = socket.socketpair()
                self._reader.setblocking(False)
                self._writer.setblocking(False)
                if self._ready or self._error:
                    self._wake()
            return self._reader.fileno()

    def put(self, consumer: C, messages: Iterable[Any]) -> None:
        """Add messages for the loop to take."""
        with self._change:
            was_empty = not self._ready
            waiting = self._ready.setdefault(consumer, priority.Waiting())
            for message in messages:
                waiting.add(message, self._priority_of(message))
            if not waiting:
                del self._ready[consumer]
            if was_empty:
                self._wake()

    def fail(self, error: Exception) -> None:
        """Have the loop raise `error`."""
        with self._change:
            self._error = error
            self._wake()

    def get(self, timeout: float | None) -> tuple[C, Any]:
        """Take a message: the most urgent, and of equal ones from each consumer in its turn.

        Waits up to `timeout` seconds for one.

        Raises `queue.Empty`, or the error left by `fail`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._change:
            while True:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                if self._ready:
                    consumer = min(self._ready, key=lambda each: self._ready[each].first)
                    messages = self._ready[consumer]
                    message = messages.take()
                    if messages:
                        self._ready.move_to_end(consumer)
                    else:
                        del self._ready[consumer]
                    return consumer, message
                wait = None if deadline is None else deadline - time.monotonic()
                if wait is not None and wait <= 0:
                    raise Empty
                self._change.wait(wait)

    def take_back(self, consumer: C) -> list[Any]:
        """Remove and return the messages of `consumer`."""
        with self._change:
            return list(self._ready.pop(consumer, ()))

    def take_all(self) -> list[Any]:
        """Remove and return the messages of all consumers."""
        with self._change:
            left = [message for messages in self._ready.values() for message in messages]
            self._ready.clear()
            return left

    def drained(self) -> None:
        """Make `fileno` unreadable, unless there is a message or an error to take."""
        with self._change:
            if self._reader is None:
                return
            with contextlib.suppress(BlockingIOError):
                while self._reader.recv(4096):
                    pass
            if self._ready or self._error:
                self._wake()

    def wake(self, **_kwargs: Any) -> None:
        """Have a loop that polls `fileno` go round once. It takes no lock: a signal may call it."""
        writer = self._writer
        if writer is not None:
            # Where the buffer is full, `fileno` is readable already; a closed one has no loop.
            with contextlib.suppress(OSError):
                writer.send(b"\0")

    def close(self) -> None:
        """Close the descriptor."""
        with self._change:
            for end in (self._reader, self._writer):
                if end is not None:
                    end.close()
            self._reader = self._writer = None

    def _wake(self) -> None:
        self._change.notify_all()
        self.wake()
