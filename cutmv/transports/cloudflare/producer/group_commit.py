"""Group commit: concurrent publishes to a queue share a call.

There is no publishing thread. The first caller leads: it sends the waiting messages, its own first,
in one call. Callers that come meanwhile wait; when the call ends, the first of them leads the next.
A leader waits briefly (`publish_linger`) for as many publishes as shared the last call, since their
callers may be about to publish again. So a single thread has no delay, and sixteen threads make a
sixteenth of the calls.

The lead ends with the leader's deadline: an exception that interrupts a leader at a bad moment (a
task's time limit may, anywhere) must not have all others wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    NotFound,
    PublishFailed,
    QueueMissing,
)
from cutmv.transports.cloudflare.messages import Outgoing, eta, limits
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.producer.sender import Sender
from cutmv.transports.cloudflare.queues import QueueDirectory, QueueName, TemporaryBinding

#: Seconds by which a call may end after its deadline, when its HTTP exchange began just before.
LATE_CALL_GRACE = 1.0

#: Seconds that a caller waits at least before it looks again whether somebody leads.
SHORTEST_WAIT = 0.01


@dataclass(slots=True, eq=False)
class _PendingPublish:
    """Messages of one caller that fit one call. `ready` is set when they are done, or to lead."""

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
        self,
        name: QueueName | TemporaryBinding,
        sender: Sender,
        directory: QueueDirectory,
        options: Options,
    ) -> None:
        self._name = name
        self._sender = sender
        self._directory = directory
        self._options = options
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._waiting: deque[_PendingPublish] = deque()
        self._leader: _PendingPublish | None = None
        self._crowd = 1  # publishes that shared the last call

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        """Return when Cloudflare has accepted all of `messages`.

        Raises `PublishFailed` when it has not within `timeout` seconds (none: `publish_timeout`);
        some may have arrived all the same. Raises `QueueMissing` when there is no such queue.
        """
        for pending in self._pack(messages):
            pending.deadline = time.monotonic() + (timeout or self._options.publish_timeout)
            self._commit(pending)
            if pending.error is not None:
                raise pending.error.again()

    def _pack(self, messages: Sequence[Outgoing]) -> Iterator[_PendingPublish]:
        """Split `messages` into publishes that fit one call each."""
        most = self._options.publish_batch_size
        for call in limits.in_calls(messages, lambda each: each.size, most):
            yield _PendingPublish(tuple(call), sum(each.size for each in call))

    def _commit(self, pending: _PendingPublish) -> None:
        with self._lock:
            self._waiting.append(pending)
            if self._lead_lasts() <= 0:
                self._promote(pending)
            if not pending.leads and len(self._waiting) >= self._crowd:
                self._arrival.notify_all()
        try:
            if not pending.leads:
                self._wait(pending)
            if pending.leads:
                self._lead(pending)
        finally:
            # Also when an exception (a task's time limit, say) interrupts the wait.
            if not pending.done:
                self._withdraw(pending)

    def _wait(self, pending: _PendingPublish) -> None:
        """Wait until the publish is done, has to lead, or is past its deadline."""
        while (left := pending.deadline - time.monotonic()) > 0:
            with self._lock:
                lasts = self._lead_lasts()
                if lasts <= 0 and not pending.ready.is_set() and pending in self._waiting:
                    self._promote(pending)
            if pending.ready.wait(min(left, max(lasts, SHORTEST_WAIT))):
                return
        with self._lock:
            under_way = pending not in self._waiting
        # A call under way ends within `LATE_CALL_GRACE` of the deadline.
        if not under_way or not pending.ready.wait(LATE_CALL_GRACE):
            pending.error = self._failure("no answer in time")

    def _lead(self, own: _PendingPublish) -> None:
        """Send as many waiting publishes as fit one call, then pass the lead on.

        A failure that may pass is final for the leader, whose time is up; the other publishes of
        the call that have time left go with the next call.
        """
        batch: list[_PendingPublish] = []
        error: CloudflareError | None = self._failure("interrupted")
        passing = True
        try:
            batch = self._take()
            self._send([each for pending in batch for each in pending.messages], own.deadline)
            error = None
        except QueueMissing as exc:
            error, passing = exc, False
        except CloudflareError as exc:
            error, passing = self._failure(str(exc), exc), exc.passing
        finally:
            now = time.monotonic()
            with self._lock:
                for pending in reversed(batch):
                    again = pending is not own and not pending.done and pending.deadline > now
                    if error and passing and again:
                        self._waiting.appendleft(pending)
                    else:
                        pending.error, pending.done = error, True
                        pending.ready.set()
                own.done = True
                self._pass_on(own)

    def _withdraw(self, pending: _PendingPublish) -> None:
        """Take back a publish whose caller gives up."""
        with self._lock:
            pending.done = True
            if pending in self._waiting:
                self._waiting.remove(pending)
            self._pass_on(pending)

    def _lead_lasts(self) -> float:
        """Return for how many seconds more somebody leads, at most."""
        if self._leader is None:
            return 0.0
        return self._leader.deadline + LATE_CALL_GRACE - time.monotonic()

    def _promote(self, pending: _PendingPublish) -> None:
        self._leader, pending.leads = pending, True
        pending.ready.set()

    def _pass_on(self, leader: _PendingPublish) -> None:
        if self._leader is not leader:
            return  # it did not lead, or not for so long
        self._leader = None
        if self._waiting:
            self._promote(self._waiting[0])

    def _take(self) -> list[_PendingPublish]:
        batch: list[_PendingPublish] = []
        count = size = 0
        with self._lock:
            self._arrival.wait_for(
                lambda: len(self._waiting) >= self._crowd, self._options.publish_linger
            )
            while self._waiting:
                pending = self._waiting[0]
                count += len(pending.messages)
                size += pending.size
                if batch and (count > self._options.publish_batch_size or size > limits.MAX_BATCH):
                    break
                batch.append(self._waiting.popleft())
            self._crowd = len(batch)
        return batch

    def _send(self, messages: Sequence[Outgoing], deadline: float) -> None:
        queue = self._directory.get(self._name, deadline)
        now = time.time()
        texts = [
            (each.text, None if each.due is None else eta.delay(each.due, now, queue.retention))
            for each in messages
        ]
        try:
            self._sender.publish(queue, texts, deadline)
        except NotFound:
            # Deleted since it was listed, and perhaps created again under another id.
            self._directory.forget(self._name)
            queue = self._directory.declare(self._name)
            self._sender.publish(queue, texts, deadline)

    def _failure(self, why: str, cause: CloudflareError | None = None) -> PublishFailed:
        return PublishFailed(f"publishing to queue {self._name!r} failed: {why}", cause=cause)


class Publishers:
    """The publishers of a process, one for each queue. Threads share it."""

    def __init__(self, sender: Sender, directory: QueueDirectory, options: Options) -> None:
        self.options = options
        self._sender, self._directory = sender, directory
        self._lock = threading.Lock()
        self._publishers: dict[QueueName | TemporaryBinding, Publisher] = {}

    def publish(self, name: QueueName, messages: Sequence[Outgoing]) -> None:
        """Publish messages to queue `name`; raises as `Publisher.publish` does."""
        self.to(name).publish(messages)

    def to(self, name: QueueName | TemporaryBinding) -> Publisher:
        """Return the one publisher of this process to queue `name`."""
        with self._lock:
            publisher = self._publishers.get(name)
            if publisher is None:
                publisher = self._publishers[name] = Publisher(
                    name, self._sender, self._directory, self.options
                )
            return publisher
