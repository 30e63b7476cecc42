"""Blocks in which publishes are gathered into few calls: `publish_batch`, and Celery's canvases.

`Channel._put` finds the `Batch` through a context variable, so every publish in the block is
gathered, however deep: ``apply_async``, ``delay``, groups, chords, chunks. Fanout messages and
events are not gathered, but published as without the block; only Celery's event ``task-sent``, and
the signals that follow a publish, wait for the block's end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from kombu.transport import virtual

from cutmv.transports.cloudflare.celery_hooks.publish import computed as _computed
from cutmv.transports.cloudflare.celery_hooks.publish import current as _current
from cutmv.transports.cloudflare.celery_hooks.publish import latest as _latest
from cutmv.transports.cloudflare.errors import BatchFailed, CloudflareError
from cutmv.transports.cloudflare.messages import Outgoing, limits
from cutmv.transports.cloudflare.producer.group_commit import Publishers
from cutmv.transports.cloudflare.queues import QueueName, TemporaryBinding
from cutmv.transports.cloudflare.runtime import run_aside

#: Seconds that a canvas's messages wait for members that are still being computed.
LINGER = 1.0


class Batch:
    """Messages that wait to be published, by queue. A full call goes at once, the rest by `flush`.

    A call that fails raises where it is made. The batch of a `canvas`, which is sent whole or not,
    raises at its end: once a call has failed, it sends nothing more, and names every message that
    comes. It tries each call `attempts` times. Only the thread that made a batch uses it; another
    does while that one computes a member of a canvas.
    """

    def __init__(self, publishers: Publishers, *, canvas: bool = False, attempts: int = 1) -> None:
        self._publishers = publishers
        self._canvas, self._attempts = canvas, attempts
        self._thread = threading.get_ident()
        self._waiting: dict[QueueName | TemporaryBinding, list[Outgoing]] = {}
        self._waiting_since = 0.0
        self._last = ("", "")  # the name of the message that came last, and its task's id
        self._signals: list[tuple[str, Callable[[], object]]] = []
        self._events: list[tuple[str, Callable[[], object]]] = []
        self._unsent: dict[str, None] = {}  # in the order of their failure
        self._cause: BaseException | None = None
        self._outer: Any = None
        self._open = False
        self._turn = threading.RLock()  # held by the thread that may send

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
        outer: Batch | None = None if self._outer is None else self._outer.serving(publishers)
        return outer

    @contextmanager
    def block(self) -> Iterator[Batch]:
        """Gather what this context publishes, and send it all at the end of the block.

        Where the block's own code raises, what waits is given up, and a note names it.
        """
        try:
            with self.gathering():
                yield self
            self.flush()
        except BaseException as error:
            self.give_up()
            unsent = self.unsent
            if unsent and getattr(error, "unsent", None) != unsent:
                error.add_note(BatchFailed.line(unsent))
            raise
        finally:
            self.tell()

    def outside(self, members: Iterable[Any], lazy: bool) -> Iterable[Any]:
        """Yield the members of a canvas, computed as if outside of its batch.

        A `lazy` generator may publish something else, and wait for its result, or for that of a
        member. Where it is slow, the members that it has given are sent meanwhile.
        """
        if not self._canvas:
            yield from members
            return
        each = iter(members)
        with self._turn, self._watched() if lazy else nullcontext():
            while True:
                if self._is_late():
                    self._send_all()
                tokens = _current.set(self._outer), _computed.set(self)
                self._turn.release()
                try:
                    member = next(each)
                except StopIteration:
                    return
                finally:
                    self._turn.acquire()
                    _current.reset(tokens[0])
                    _computed.reset(tokens[1])
                yield member

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Have a thread send what waits, while a generator takes long to give the next member."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LINGER):
                with self._turn:
                    if self._is_late():
                        self._send_all()

        try:
            with suppress(RuntimeError):  # a process that is about to exit can't start any
                run_aside("canvas", watch)
            yield
        finally:
            over.set()

    def _is_late(self) -> bool:
        return bool(self._waiting) and time.monotonic() - self._waiting_since > LINGER

    def send_waiting(self) -> None:
        """Send what waits here and in outer blocks; raises `BatchFailed` where that fails."""
        if self._open and self._thread == threading.get_ident():
            with self._turn if self is _computed.get() else nullcontext():
                self._send_all()
            if self._canvas:
                self._raise_unsent()
        if self._outer is not None:
            self._outer.send_waiting()

    def when_sent(self, task_id: str, action: Callable[[], object], *, event: bool = False) -> bool:
        """Have `action`, a signal or an `event`, called at the end, if the task's message is sent.

        Returns false if that message was not the last to come to this block.
        """
        name, known_as = self._last
        if not name or task_id != known_as or self._thread != threading.get_ident():
            return False
        (self._events if event else self._signals).append((name, action))
        return True

    def tell(self) -> None:
        """Tell of the messages that were sent.

        Signals are sent in reverse: those before and after a publish are a bracket to their
        receivers (a tracer's span, say), and the brackets of a block's messages are nested.
        """
        told, self._signals, self._events = [*self._signals[::-1], *self._events], [], []
        self._last = ("", "")
        if _latest.get() is self:
            _latest.set(None)
        for name, action in told:
            if name not in self._unsent:
                action()

    def add(
        self, queue: QueueName | TemporaryBinding, message: Outgoing, task_id: object = None
    ) -> None:
        """Keep a message for `queue`, and send the call if it is full; raises `BatchFailed`.

        What is to wait for the message names it by its `task_id`.
        """
        self._last = message.name, str(task_id or "")
        _latest.set(self)
        if self._canvas and self._cause is not None:
            self._unsent[message.name] = None
            return
        if not self._waiting:
            self._waiting_since = time.monotonic()
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
        self._send_all()
        self._raise_unsent()

    def _raise_unsent(self) -> None:
        if self._unsent:
            raise BatchFailed.naming(self.unsent, self._cause)

    def give_up(self) -> None:
        """Drop the waiting messages, and keep their names as unsent."""
        for messages in self._waiting.values():
            self._unsent.update((each.name, None) for each in messages)
        self._waiting.clear()

    def _send_all(self) -> None:
        while self._waiting:
            queue = next(iter(self._waiting))
            self._send(queue, self._waiting.pop(queue))

    def _send(self, queue: QueueName | TemporaryBinding, messages: list[Outgoing]) -> None:
        try:
            self._publish(queue, messages)
        except BaseException as error:
            # The messages that wait for other calls are given up, too, so that the error names all.
            self._unsent.update((each.name, None) for each in messages)
            self.give_up()
            self._cause = error
            if not isinstance(error, CloudflareError):
                raise
            if not self._canvas:
                raise BatchFailed.naming(self.unsent, error) from error
        else:
            for each in messages:  # the caller may have sent again messages that had failed
                self._unsent.pop(each.name, None)

    def _publish(self, queue: QueueName | TemporaryBinding, messages: list[Outgoing]) -> None:
        for left in reversed(range(self._attempts)):
            try:
                self._publishers.to(queue).publish(messages)
                return
            except CloudflareError:
                if not left:
                    raise


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
        """Publish the waiting messages, and tell of those that were sent; raises `BatchFailed`."""
        try:
            self._batch.flush()
        finally:
            self._batch.tell()

    def discard(self) -> None:
        """Drop the waiting messages."""
        self._batch.give_up()
        self._batch.tell()

    def close(self) -> None:
        """End the batch, and drop messages that were not flushed."""
        self.discard()


def current(publishers: Publishers) -> Batch | None:
    """Return the batch that gathers this context's messages to `publishers`, if there is one."""
    batch: Any = _current.get()
    return None if batch is None else batch.serving(publishers)


def latest() -> Batch | None:
    """Return the batch to which this context's last message came, if it waits there."""
    batch: Any = _latest.get()
    found: Batch | None = batch
    return found


@contextmanager
def canvas_batch(publishers: Publishers, attempts: int) -> Iterator[Batch]:
    """Gather the messages of a canvas, in the block in which it is published if there is one.

    Raises `BatchFailed` at the end unless all are sent; each call is tried `attempts` times.
    """
    block = current(publishers)
    if block is not None:
        yield block
        return
    with Batch(publishers, canvas=True, attempts=attempts).block() as batch:
        yield batch


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
    exception names them. What waits for a result (`get`, `join`) has the waiting messages sent
    before; what asks again and again whether there is one waits for ever.

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
        with batch.block():
            yield
    finally:
        transport.close_connection(connection)
