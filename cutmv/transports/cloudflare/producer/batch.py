"""Blocks in which publishing is gathered into few calls: `publish_batch`.

`Channel._put` finds the `Batch` through a context variable, so whatever publishes in the
block is gathered, however deep: ``apply_async``, ``delay``, groups, chords, chunks. Fan-out
messages and events are not: they go their own way at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from kombu.transport import virtual

from cutmv.transports.cloudflare.errors import BatchFailed, CloudflareError
from cutmv.transports.cloudflare.messages import Outgoing, limits
from cutmv.transports.cloudflare.producer.group_commit import Publishers
from cutmv.transports.cloudflare.queues import QueueName, TemporaryBinding


class Batch:
    """Messages that wait, by queue. A full call is sent at once, the rest by `flush`.

    Used by the thread that made it alone.
    """

    def __init__(self, publishers: Publishers) -> None:
        self._publishers = publishers
        self._thread = threading.get_ident()
        self._waiting: dict[QueueName | TemporaryBinding, list[Outgoing]] = {}
        self._unsent: dict[str, None] = {}  # in the order of their failure
        self._cause: BaseException | None = None
        self._outer: Batch | None = None
        self._open = False

    @property
    def count(self) -> int:
        """How many messages wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def unsent(self) -> tuple[str, ...]:
        """The names of what was given up, and not sent since."""
        return tuple(self._unsent)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Have what this context publishes added here."""
        self._outer = _current.get()
        token = _current.set(self)
        self._open = True
        try:
            yield
        finally:
            self._open = False
            _current.reset(token)

    def serving(self, publishers: Publishers) -> Batch | None:
        """Return the innermost batch, from this one outwards, that sends by `publishers`.

        A context that was copied into another thread or a forked child, or outlives the block
        in a coroutine, has none.
        """
        mine = self._publishers is publishers and self._thread == threading.get_ident()
        if mine and self._open:
            return self
        return None if self._outer is None else self._outer.serving(publishers)

    def add(self, queue: QueueName | TemporaryBinding, message: Outgoing) -> None:
        """Keep a message for `queue`, and send a call that it makes full; raises `BatchFailed`."""
        waiting = self._waiting.setdefault(queue, [])
        if waiting and sum(each.size for each in waiting) + message.size > limits.MAX_BATCH:
            self._waiting[queue] = [message]
            self._send(queue, waiting)
            return
        waiting.append(message)
        if len(waiting) >= self._publishers.options.publish_batch_size:
            del self._waiting[queue]
            self._send(queue, waiting)

    def flush(self) -> None:
        """Send what waits; raises `BatchFailed` unless all that was ever added is sent."""
        while self._waiting:
            queue = next(iter(self._waiting))
            self._send(queue, self._waiting.pop(queue))
        if self._unsent:
            raise BatchFailed.naming(self.unsent, self._cause)

    def give_up(self) -> None:
        """Keep of what waits only the names."""
        for messages in self._waiting.values():
            self._unsent.update((each.name, None) for each in messages)
        self._waiting.clear()

    def _send(self, queue: QueueName | TemporaryBinding, messages: list[Outgoing]) -> None:
        try:
            self._publishers.to(queue).publish(messages)
        except BaseException as error:
            # What waits for other calls is given up with it, so that the error names all.
            self._unsent.update((each.name, None) for each in messages)
            self.give_up()
            self._cause = error
            if isinstance(error, CloudflareError):
                raise BatchFailed.naming(self.unsent, error) from error
            raise
        for each in messages:  # the caller may have sent again what had failed
            self._unsent.pop(each.name, None)


class ProducerBatch:
    """What `kombu.Producer.batch` fills: a batch of `max_size` messages at most."""

    def __init__(self, channel: virtual.Channel, publishers: Publishers, max_size: int) -> None:
        self.channel = channel
        self._batch = Batch(publishers)
        self._max_size = max_size

    def publish(self, message: dict[str, Any], **kwargs: Any) -> None:
        """Route the message and keep it for `flush`."""
        with self._batch.gathering():
            self.channel.basic_publish(message, **kwargs)
        if self._batch.count >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Publish what waits; raises `BatchFailed`."""
        self._batch.flush()

    def discard(self) -> None:
        """Forget what waits."""
        self._batch.give_up()

    def close(self) -> None:
        """End the batch; what was not flushed is forgotten."""
        self.discard()


_current: ContextVar[Batch | None] = ContextVar("cloudflare_publish_batch", default=None)


def current(publishers: Publishers) -> Batch | None:
    """Return the batch that gathers what would go by `publishers` in this context, if any."""
    batch = _current.get()
    return None if batch is None else batch.serving(publishers)


@contextmanager
def publish_batch(app: Any) -> Iterator[None]:
    """Publish what a Celery app sends in this block by calls of up to 100 messages or 256 KB.

    ::

        with publish_batch(app):
            for item in items:
                task.delay(item)

    When the block ends, all is sent, or it raises `BatchFailed`, which names what was not. A
    call that fails within the block raises it from the ``apply_async`` that filled the call.
    Where the block's own code raises, what waits is not sent; a note on the exception names
    it. A result must not be waited for inside: its task may not have been sent.

    The block is for this thread (or greenlet). A nested one sends its own messages at its own
    end. Where the app's broker is another, it does nothing.
    """
    connection = app.connection_for_write()
    if getattr(connection.get_transport_cls(), "driver_type", None) != "cloudflare":
        yield
        return
    transport = connection.transport
    batch = Batch(transport.session.publishers)  # held open, whatever the block does to connections
    try:
        with batch.gathering():
            yield
        batch.flush()
    except BaseException as error:
        batch.give_up()
        unsent = batch.unsent
        if unsent and getattr(error, "unsent", None) != unsent:
            error.add_note(BatchFailed.line(unsent))
        raise
    finally:
        transport.close_connection(connection)
