"""The queue directory: finds queues by name in a cached list, and creates missing ones."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    Conflict,
    NotFound,
    QueueNameError,
    Refused,
)
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import consumer_policy, names
from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding
from cutmv.transports.cloudflare.queues.consumer_policy import (
    BINDING_RETENTION,
    DEAD_LETTER_RETENTION,
    Queue,
)
from cutmv.transports.cloudflare.queues.names import PriorityLevel, QueueName
from cutmv.transports.cloudflare.queues.pull_consumers import PullConsumers

logger = logging.getLogger(__name__)

#: Seconds for which a list that lacks a name is believed, so that publishing to a missing queue
#: does not use up the account's metered calls.
MISSING_BELIEVED = 5.0

#: Names known to be missing that are kept at most.
MAX_MISSED = 1_000

#: Seconds a declaration may take (a list, two queues and a consumer, each retried), and between two
#: creations of a queue that another call is in the way of.
DECLARE_TIMEOUT, CREATE_PAUSE = 10.0, 1.0


class QueueDirectory:
    """Finds queues by kombu's names. Threads share it; one list call serves them all."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options
        self._pull_consumers = PullConsumers(client, options)
        self._lock = threading.RLock()
        self._queues: dict[str, Queue] = {}
        self._bindings: dict[str, dict[TemporaryBinding, str]] = {}
        self._listed_at: float | None = None
        self._missed_at: dict[str, float] = {}  # when names were last asked for, in vain
        #: A new object after each change of the known queues.
        self.revision = object()

    def queue_name(self, name: QueueName | TemporaryBinding) -> str:
        """Return the Cloudflare name for kombu's `name`, or of a binding."""
        if isinstance(name, TemporaryBinding):
            return name.name
        return names.encode_prefixed(self._options.queue_name_prefix, name)

    def named(self, queue: Queue) -> QueueName | None:
        """Return kombu's name for a queue, or its priority level; none for another app's queue."""
        return names.decode_prefixed(self._options.queue_name_prefix, queue.name)

    def name_of(self, queue: Queue) -> str | None:
        """Return kombu's name for a queue; none for a binding, or another app's queue."""
        return name if isinstance(name := self.named(queue), str) else None

    @property
    def all(self) -> list[Queue]:
        """Every queue of the account, as last listed."""
        return list(self._queues.values())

    @property
    def verified(self) -> bool:
        """Whether the queues are known, and the last call showed that the account answers."""
        return self._listed_at is not None and self._client.succeeded_at > self._client.failed_at

    def verify(self, deadline: float) -> None:
        """List the queues, unless they are known and the last call succeeded."""
        with self._lock:
            if not self.verified:
                self._list(deadline)

    def knows(self, name: QueueName | TemporaryBinding) -> bool:
        """Return whether the queue for `name` was there when last listed. Makes no call."""
        try:
            return self.queue_name(name) in self._queues
        except QueueNameError:
            return False

    def find(
        self, name: QueueName | TemporaryBinding, deadline: float | None = None
    ) -> Queue | None:
        """Return the queue for `name`, or none."""
        return self.find_by_name(self.queue_name(name), deadline)

    def find_by_name(self, queue_name: str, deadline: float | None = None) -> Queue | None:
        """Return the queue of this Cloudflare name, or none."""
        known = self._queues.get(queue_name)
        if known is not None:  # the common case does not wait for another thread's list
            return known
        with self._lock:
            now = time.monotonic()
            missed_at = self._missed_at.get(queue_name, self._listed_at)
            if queue_name not in self._queues and (
                missed_at is None or now - missed_at >= MISSING_BELIEVED
            ):
                self._look_up(queue_name, deadline or now + DECLARE_TIMEOUT)
            return self._queues.get(queue_name)

    def get(self, name: QueueName | TemporaryBinding, deadline: float | None = None) -> Queue:
        """Return the queue for `name`; raises `QueueMissing`."""
        if (queue := self.find(name, deadline)) is None:
            raise consumer_policy.missing(self.queue_name(name))
        return queue

    def declare(self, name: QueueName | TemporaryBinding) -> Queue:
        """Return the queue for `name`; create it and its pull consumer where that is allowed.

        Raises `QueueMissing`, with the command to run, where a queue is missing and not allowed.
        """
        if isinstance(name, TemporaryBinding):
            return self.open_binding(name, BINDING_RETENTION)
        queue_name = self.queue_name(name)
        with self._lock:
            deadline = time.monotonic() + DECLARE_TIMEOUT
            queue = self.find(name)
            if queue is None:
                queue = self._create(queue_name, deadline)
            whole = name.name if isinstance(name, PriorityLevel) else name
            pulled = not self._options.pushes(whole)
            if queue.consumer is None and pulled and self._options.create_missing_queues:
                queue = self._add_consumer(queue, deadline)
            if self._queues.get(queue_name) is not queue:
                self._know(queue)
            return queue

    def require_pull(self, name: QueueName) -> Queue:
        """Return the queue for `name`, which can be pulled from; raises `QueueMissing`."""
        return self.pullable(self.declare(name))

    def require_push(self, name: QueueName) -> Queue:
        """Return the queue for `name`, which a Worker consumes; raises `QueueMissing`."""
        queue = self.declare(name)
        if queue.consumer == "http_pull":
            raise consumer_policy.not_pushed(queue)
        if queue.consumer is None:
            logger.warning(
                "cloudflare: no Worker consumes queue %r yet: add it to the edge Worker's "
                "wrangler.toml, and deploy that",
                queue.name,
            )
        return queue

    def pullable(self, queue: Queue) -> Queue:
        """Return `queue`, and add a pull consumer where it has none; raises `QueueMissing`."""
        if queue.consumer is None and self._options.create_missing_queues:
            with self._lock:
                queue = self._add_consumer(queue, time.monotonic() + DECLARE_TIMEOUT)
                self._know(queue)
        if queue.consumer == "http_pull":
            return queue
        if queue.consumer is None:
            raise consumer_policy.without_pull_consumer(queue.name)
        raise consumer_policy.consumed_by_worker(queue)

    def forget(self, name: QueueName | TemporaryBinding) -> None:
        """Forget the queue for `name`, so that the next search asks Cloudflare."""
        with self._lock:
            queue_name = self.queue_name(name)
            self._queues.pop(queue_name, None)
            self._missed_at[queue_name] = -math.inf

    def delete(self, name: QueueName) -> None:
        """Delete the queue for `name`, if there is one."""
        with self._lock:
            queue = self.find(name)
            if queue is not None:
                # Not found: another process deleted it, or this call's first response got lost.
                with contextlib.suppress(NotFound):
                    self._client.delete_queue(queue.queue_id, time.monotonic() + DECLARE_TIMEOUT)
                self._queues.pop(queue.name, None)

    # Dead letters.

    def dead_letter_queue(self, queue: Queue) -> Queue | None:
        """Return `queue`'s dead-letter queue, created if it is gone; none where it has none.

        Raises `QueueMissing` where it is gone and may not be created.
        """
        name = queue.dead_letter_queue
        if not name:
            return None
        with self._lock:
            found = self.find_by_name(name)
            if found is None and not self._options.create_missing_queues:
                raise consumer_policy.missing(name)
            return found or self._create_dead_letter_queue(name, time.monotonic() + DECLARE_TIMEOUT)

    def _create_dead_letter_queue(self, queue_name: str, deadline: float) -> Queue:
        queue = self._make(queue_name, deadline)
        self._know(queue)
        return self._retain(queue, DEAD_LETTER_RETENTION, deadline)

    def _retain(self, queue: Queue, seconds: int, deadline: float) -> Queue:
        """Have a queue keep messages for `seconds`; a refusal leaves its retention as it is."""
        try:
            self._client.change(queue.queue_id, {"message_retention_period": seconds}, deadline)
        except (Refused, AccessDenied) as error:
            # Cloudflare's free plan fixes how long messages stay.
            logger.info("cloudflare: how long %r keeps messages stays: %s", queue.name, error)
            return queue
        return replace(queue, retention=seconds)

    # Bindings of durable queues: of a binding queue only the name counts.

    def add_marker(self, queue_name: str, deadline: float) -> None:
        """Create a queue of this Cloudflare name, without a consumer, if there is none."""
        with self._lock:
            if queue_name not in self._queues:
                self._know(self._create(queue_name, deadline))

    def remove_marker(self, queue_name: str, deadline: float) -> None:
        """Delete the queue of this Cloudflare name, if it is known."""
        with self._lock:
            if (queue := self._queues.get(queue_name)) is None:
                return
            with contextlib.suppress(NotFound):
                self._client.delete_queue(queue.queue_id, deadline)
            del self._queues[queue_name]  # last, so that a deletion that failed is tried again
            self.revision = object()

    # Bindings of temporary queues.

    def temporary_bindings(self, exchange: str) -> Mapping[TemporaryBinding, str]:
        """Return the known bindings to an exchange (its digest), with their binding queues' ids."""
        return self._bindings.get(exchange, {})

    def refresh(self, max_age: float, deadline: float) -> None:
        """List the queues, unless they were listed in the last `max_age` seconds."""
        with self._lock:
            if self.age > max_age:
                self._list(deadline)

    @property
    def age(self) -> float:
        """Seconds since the queues were listed."""
        return float("inf") if self._listed_at is None else time.monotonic() - self._listed_at

    def open_binding(self, binding: TemporaryBinding, retention: int) -> Queue:
        """Return a temporary queue's binding queue, created if there is none.

        Messages stay in it for `retention` seconds.
        """
        deadline = time.monotonic() + DECLARE_TIMEOUT
        with self._lock:
            queue = self._queues.get(binding.name)
            if queue is None:
                queue = self._retain(self._create(binding.name, deadline), retention, deadline)
            if queue.consumer is None:
                queue = self._add_consumer(queue, deadline)
            self._know(queue)
            return queue

    def delete_binding(self, binding: TemporaryBinding, queue_id: str, deadline: float) -> None:
        """Delete a binding queue with its messages; one that is gone already is no error."""
        self.forget_binding(binding)
        with contextlib.suppress(NotFound):
            self._client.delete_queue(queue_id, deadline)

    def retention(self, binding: TemporaryBinding) -> int:
        """Return the seconds for which a binding queue keeps messages, as last listed."""
        return queue.retention if (queue := self._queues.get(binding.name)) else BINDING_RETENTION

    def forget_binding(self, binding: TemporaryBinding) -> None:
        """Forget a binding that is gone."""
        with self._lock:
            self._queues.pop(binding.name, None)
            self._bindings.get(binding.exchange, {}).pop(binding, None)

    def _know(self, queue: Queue) -> None:
        self._queues[queue.name] = queue
        self.revision = object()
        if (binding := TemporaryBinding.read(queue.name)) is not None:
            self._bindings.setdefault(binding.exchange, {})[binding] = queue.queue_id

    def _list(self, deadline: float) -> None:
        listed = list(map(Queue.read, self._client.list_queues(deadline)))
        bindings: dict[str, dict[TemporaryBinding, str]] = {}
        for queue in listed:
            if (binding := TemporaryBinding.read(queue.name)) is not None:
                bindings.setdefault(binding.exchange, {})[binding] = queue.queue_id
        # At once, since other threads read without the lock: half a list lacks bindings.
        self._queues, self._bindings = {queue.name: queue for queue in listed}, bindings
        self.revision = object()
        self._listed_at = time.monotonic()
        self._missed_at.clear()

    def _look_up(self, queue_name: str, deadline: float) -> None:
        """Ask Cloudflare for one queue; list them all at first, or where it can't be asked so."""
        named = self._client.named_queues(queue_name, deadline) if self._listed_at else None
        if named is None:
            self._list(deadline)
        elif named:
            self._know(Queue.read(named[0]))
        if queue_name not in self._queues:
            if len(self._missed_at) >= MAX_MISSED:
                self._missed_at.clear()
            self._missed_at[queue_name] = time.monotonic()

    def _create(self, queue_name: str, deadline: float) -> Queue:
        if not self._options.create_missing_queues:
            raise consumer_policy.missing(queue_name)
        try:
            return self._make(queue_name, deadline)
        except (Refused, AccessDenied) as error:
            if isinstance(error, AccessDenied):
                self._list(deadline)  # raises where the token is refused altogether
            raise consumer_policy.missing(queue_name, why=str(error)) from None

    def _make(self, queue_name: str, deadline: float) -> Queue:
        try:
            return Queue.read(self._client.create_queue(queue_name, deadline))
        except (Refused, Conflict) as error:
            self._look_up(queue_name, deadline)  # most likely another process created it first
            if queue_name not in self._queues:
                self._list(deadline)  # the search by name may not find all
            if found := self._queues.get(queue_name):
                return found
            if not error.passing or time.monotonic() + CREATE_PAUSE >= deadline:
                raise
        time.sleep(CREATE_PAUSE)
        return self._make(queue_name, deadline)

    def _add_consumer(self, queue: Queue, deadline: float) -> Queue:
        return self._pull_consumers.add(
            queue,
            lambda name: name in self._queues or self._create_dead_letter_queue(name, deadline),
            deadline,
            takes_dead_letters=any(
                each.dead_letter_queue == queue.name for each in self._queues.values()
            ),
        )
