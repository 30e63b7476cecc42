"""Group commit: concurrent publishes to a queue share a call.

There is no publishing thread. The first caller leads: it sends what is waiting, its own first,
in one call. Those who come meanwhile wait; when the call ends, the first of them leads the
next. A leader waits a moment (`publish_linger`) for as many as shared the last call, who may be
about to come again. So one thread alone pays no delay, and sixteen make a sixteenth of the
calls.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cutmv.transports.cloudflare.edge.client import Sender
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    NotFound,
    PublishFailed,
    QueueMissing,
)
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.messages import eta as delays
from cutmv.transports.cloudflare.messages.envelope import MAX_BATCH
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import Address
from cutmv.transports.cloudflare.queues.directory import QueueDirectory
from cutmv.transports.cloudflare.queues.names import Named

#: Seconds a call may end after its deadline: an HTTP exchange that began just before.
GRACE = 1.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message's text, made by `LargeMessages.fit`, and when it is due (seconds since 1970).

    `name` is what errors call it, and `size` the bytes that Cloudflare counts for it.
    """

    text: str
    due: float | None = None
    name: str = ""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        """Measure it, once."""
        object.__setattr__(self, "size", envelope.size(self.text))


@dataclass(slots=True, eq=False)
class _Parcel:
    """Messages of one caller that go in one call. `ready` says: done, or your turn to lead."""

    messages: tuple[Outgoing, ...]
    size: int
    deadline: float = 0.0
    leads: bool = False
    ready: threading.Event = field(default_factory=threading.Event)
    done: bool = False
    error: CloudflareError | None = None


class Publisher:
    """Publishes to one queue. Threads share it."""

    def __init__(
        self, name: Named | Address, sender: Sender, directory: QueueDirectory, options: Options
    ) -> None:
        self._name = name
        self._sender = sender
        self._directory = directory
        self._options = options
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._waiting: deque[_Parcel] = deque()
        self._led = False
        self._crowd = 1  # parcels of the last call

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return when Cloudflare has accepted all of `messages`.

        Raises `PublishFailed` when it has not within `publish_timeout`; some may have arrived
        all the same. Raises `QueueMissing` when there is no such queue.
        """
        for parcel in self._pack(messages):
            parcel.deadline = time.monotonic() + self._options.publish_timeout
            self._commit(parcel)
            if parcel.error is not None:
                raise parcel.error.again()

    def _pack(self, messages: Sequence[Outgoing]) -> Iterator[_Parcel]:
        """Split `messages` into what fits one call each."""
        most = self._options.publish_batch_size
        for call in envelope.in_calls(messages, lambda each: each.size, most):
            yield _Parcel(tuple(call), sum(each.size for each in call))

    def _commit(self, parcel: _Parcel) -> None:
        with self._lock:
            self._waiting.append(parcel)
            parcel.leads, self._led = not self._led, True
            if not parcel.leads and len(self._waiting) >= self._crowd:
                self._arrival.notify_all()
        try:
            if not parcel.leads:
                self._wait(parcel)
            if parcel.leads:
                self._lead(parcel)
        finally:
            # Also when an exception (a task's time limit, say) came from outside.
            if not parcel.done:
                self._withdraw(parcel)

    def _wait(self, parcel: _Parcel) -> None:
        """Wait until the parcel is done, leads, or is late."""
        if parcel.ready.wait(max(0.0, parcel.deadline - time.monotonic())):
            return
        with self._lock:
            under_way = parcel not in self._waiting
        # Past its deadline a call that is under way ends within a moment.
        if not under_way or not parcel.ready.wait(GRACE):
            parcel.error = self._failure("no answer in time")

    def _lead(self, own: _Parcel) -> None:
        """Send what waits, as much as fits one call, then pass the lead on.

        A failure that may pass is final for the leader, whose time is up; those of the batch
        who have time left go with the next call.
        """
        batch: list[_Parcel] = []
        error: CloudflareError | None = self._failure("interrupted")
        passing = True
        try:
            batch = self._take()
            self._send([each for parcel in batch for each in parcel.messages], own.deadline)
            error = None
        except QueueMissing as exc:
            error, passing = exc, False
        except CloudflareError as exc:
            error, passing = self._failure(str(exc), exc), exc.passing
        finally:
            now = time.monotonic()
            with self._lock:
                for parcel in reversed(batch):
                    again = parcel is not own and not parcel.done and parcel.deadline > now
                    if error and passing and again:
                        self._waiting.appendleft(parcel)
                    else:
                        parcel.error, parcel.done = error, True
                        parcel.ready.set()
                own.done = True
                self._pass_on()

    def _withdraw(self, parcel: _Parcel) -> None:
        """Take back a parcel whose caller gives up."""
        with self._lock:
            parcel.done = True
            if parcel in self._waiting:
                self._waiting.remove(parcel)
            if parcel.leads:
                self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].ready.set()
        else:
            self._led = False

    def _take(self) -> list[_Parcel]:
        batch: list[_Parcel] = []
        count = size = 0
        with self._lock:
            self._arrival.wait_for(
                lambda: len(self._waiting) >= self._crowd, self._options.publish_linger
            )
            while self._waiting:
                parcel = self._waiting[0]
                count += len(parcel.messages)
                size += parcel.size
                if batch and (count > self._options.publish_batch_size or size > MAX_BATCH):
                    break
                batch.append(self._waiting.popleft())
            self._crowd = len(batch)
        return batch

    def _send(self, messages: Sequence[Outgoing], deadline: float) -> None:
        queue = self._directory.get(self._name, deadline)
        now = time.time()
        texts = [
            (each.text, None if each.due is None else delays.delay(each.due, now, queue.retention))
            for each in messages
        ]
        try:
            self._sender.publish(queue, texts, deadline)
        except NotFound:
            # Deleted since we looked, maybe made anew under another id.
            self._directory.forget(self._name)
            queue = self._directory.declare(self._name)
            self._sender.publish(queue, texts, deadline)

    def _failure(self, why: str, cause: CloudflareError | None = None) -> PublishFailed:
        return PublishFailed(
            f"publishing to queue {self._name!r} failed: {why}",
            status=cause.status if cause else 0,
            code=cause.code if cause else 0,
        )
