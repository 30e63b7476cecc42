"""Blocks in which publishes are gathered into few calls: `publish_batch`.

`Channel._put` finds the `Batch` through a context variable, so every publish in the block is
gathered, however deep: ``apply_async``, ``delay``, groups, chords, chunks. Fanout messages and
events are not gathered, but published as without the block.
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
    """Messages that wait to be published, by queue. A full call goes at once, the rest by `flush`.

    Only the thread that made it uses it.
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
        """The names of the messages that were given up, and not sent since."""
        return tuple(self._unsent)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Have the messages that this context publishes added to this batch."""
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

        Returns none for a context that was copied into another thread or a forked child, or that
        outlives the block in a coroutine.
        """
        mine = self._publishers is publishers and self._thread == threading.get_ident()
        if mine and self._open:
            return self
        return None if self._outer is None else self._outer.serving(publishers)

    def add(self, queue: QueueName | TemporaryBinding, message: Outgoing) -> None:
        """Keep a message for `queue`, and send the call if it is full; raises `BatchFailed`."""
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
        """Send the waiting messages; raises `BatchFailed` unless all messages added are sent."""
        while self._waiting:
            queue = next(iter(self._waiting))
            self._send(queue, self._waiting.pop(queue))
        if self._unsent:
            raise BatchFailed.naming(self.unsent, self._cause)

    def give_up(self) -> None:
        """Drop the waiting messages, and keep their names as unsent."""
        for messages in self._waiting.values():
            self._unsent.update((each.name, None) for each in messages)
        self._waiting.clear()

    def _send(self, queue: QueueName | TemporaryBinding, messages: list[Outgoing]) -> None:
        try:
            self._publishers.to(queue).publish(messages)
        except BaseException as error:
            # The messages that wait for other calls are given up, too, so that the error names all.
            self._unsent.update((each.name, None) for each in messages)
            self.give_up()
            self._cause = error
            if isinstance(error, CloudflareError):
                raise BatchFailed.naming(self.unsent, error) from error
            raise
        for each in messages:  # the caller may have sent again messages that had failed
            self._unsent.pop(each.name, None)


class ProducerBatch:
    """The batch that `kombu.Producer.batch` fills, of `max_size` messages at most."""

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
        """Publish the waiting messages; raises `BatchFailed`."""
        self._batch.flush()

    def discard(self) -> None:
        """Drop the waiting messages."""
        self._batch.give_up()

    def close(self) -> None:
        """End the batch, and drop messages that were not flushed."""
        self.discard()


_current: ContextVar[Batch | None] = ContextVar("cloudflare_publish_batch", default=None)


def current(publishers: Publishers) -> Batch | None:
    """Return the batch that gathers this context's messages to `publishers`, if there is one."""
    batch = _current.get()
    return None if batch is None else batch.serving(publishers)


@contextmanager
def publish_batch(app: Any) -> Iterator[None]:
    """Publish a Celery app's messages in this block by calls of up to 100 messages or 256 KB.

    ::

        with publish_batch(app):
            for item in items:
                task.delay(item)

    When the block ends, all messages are sent, or it raises `BatchFailed`, which names those that
    were not. A call that fails within the block raises it from the ``apply_async`` that filled the
    call. Where the block's own code raises, the waiting messages are not sent; a note on the
    exception names them. The block must not wait for a result: its task may not have been sent.

    The block gathers the messages of this thread (or greenlet). A nested block sends its messages
    at its own end. The block does nothing where the app's broker is not Cloudflare Queues.
    """
    connection = app.connection_for_write()
    if getattr(connection.get_transport_cls(), "driver_type", None) != "cloudflare":
        yield
        return
    transport = connection.transport
    batch = Batch(transport.session.publishers)  # stays open if the block closes connections
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
