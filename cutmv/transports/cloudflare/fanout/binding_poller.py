"""A thread that pulls one binding queue: messages of other processes to a temporary queue."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, ObjectStoreError
from cutmv.transports.cloudflare.fanout import bundle
from cutmv.transports.cloudflare.fanout.memory import UNUSED_AFTER, MemoryBroker
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery
from cutmv.transports.cloudflare.messages import (
    ClaimChecks,
    claim_check,
    envelope,
    expiry,
    poison,
)
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import (
    BINDING_RETENTION_MIN,
    Binding,
    QueueDirectory,
    TemporaryBinding,
    binding_retention,
    matches,
)
from cutmv.transports.cloudflare.runtime import BackgroundThread, full_jitter
from cutmv.transports.cloudflare.troubles import note_trouble

logger = logging.getLogger(__name__)

#: Messages of one pull, and seconds of their lease: they are acked as soon as they have come.
MAX_PULL, LEASE_SECONDS = 100, 30.0

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0

#: The part of a pause that it lasts at least; pollers must not keep step.
LEAST_PAUSE = 0.8

#: How fast pauses grow while nothing comes; more slowly where a reply is waited for, which follows
#: its command.
PAUSE_GROWTH, REPLY_PAUSE_GROWTH = 1.5, 1.2

#: Seconds between pulls of events, at least and at most: they are sent many at a time, and nobody
#: waits for one.
EVENT_PAUSE, EVENT_PAUSE_MAX = 0.25, 1.5


@dataclass(frozen=True, slots=True)
class FanoutServices:
    """The services that temporary queues, their pollers and the broadcaster share.

    `on_hopeless` is called with an error if one of their threads does not recover.
    """

    client: Client
    directory: QueueDirectory
    acknowledger: Acknowledger
    memory: MemoryBroker
    claim_checks: ClaimChecks
    options: Options
    on_hopeless: Callable[[BaseException], object]


class PollerOwner(Protocol):
    """Receives the messages and the end of a binding's poller: `TemporaryQueues`."""

    def arrive(self, queue: str, message: dict[str, Any]) -> None:
        """Take a message for a temporary queue."""

    def retire(self, poller: BindingPoller) -> bool:
        """Close a poller that found nothing if the hub does its work; return whether it did."""

    def expire(self, queue: str) -> None:
        """Close the bindings of a temporary queue that has had no reader for too long."""


class BindingPoller:
    """Pulls one binding queue while its temporary queue has a reader.

    `expires` is after how many seconds without a reader the binding is closed; with none that is so
    only after `UNUSED_AFTER` seconds for a queue that has had a reader.
    `made` tells whether this process created the binding queue, and `sent_to` whether it has put a
    task there, which another process may be about to take.
    """

    def __init__(
        self,
        binding: Binding,
        name: TemporaryBinding,
        queue_id: str,
        *,
        services: FanoutServices,
        owner: PollerOwner,
        expires: float | None,
        made: bool,
    ) -> None:
        self.binding, self.name, self.queue_id = binding, name, queue_id
        self.made, self.sent_to = made, False
        self._services, self._owner, self._expires = services, owner, expires
        self._thread = BackgroundThread(
            f"binding-{binding.queue}", self._run, on_hopeless=services.on_hopeless
        )

    def start(self) -> None:
        """Start pulling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop pulling."""
        self._thread.stop()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, unless the caller is that thread."""
        self._thread.join(timeout)

    def _run(self) -> None:
        stopping = self._thread.stopping
        first, growth, longest = self._rhythm()
        pause, failures = first, 0
        while not stopping.is_set():
            if not self._services.memory.is_read(self.binding.queue):
                memory = self._services.memory
                unused = UNUSED_AFTER if memory.was_read(self.binding.queue) else None
                patience = self._expires or unused
                if patience and memory.idle_for(self.binding.queue) > patience:
                    self._owner.expire(self.binding.queue)
                    return
                pause = first
                stopping.wait(pause)
                continue
            try:
                count = self.pull(MAX_PULL)
            except NotFound:
                self._reopen()
                continue
            except CloudflareError as error:
                failures += 1
                if failures == 2:
                    logger.warning("cloudflare: temporary queue %s: %s", self.binding.queue, error)
                stopping.wait(full_jitter(failures, most=OUTAGE_PAUSE) + (error.retry_after or 0))
                continue
            failures = 0
            if not count and self._owner.retire(self):
                return
            pause = first if count else min(pause * growth, longest)
            if count < MAX_PULL:
                stopping.wait(random.uniform(pause * LEAST_PAUSE, pause))

    def _rhythm(self) -> tuple[float, float, float]:
        """Return the pause after messages, the growth of those that follow, and the longest (s)."""
        options = self._services.options
        first, longest = options.polling_interval_min, options.control_polling_interval
        if self.binding.type == "topic":
            return max(first, EVENT_PAUSE), PAUSE_GROWTH, max(longest, EVENT_PAUSE_MAX)
        return first, REPLY_PAUSE_GROWTH if self.binding.exchange else PAUSE_GROWTH, longest

    def pull(self, most: int) -> int:
        """Pull up to `most` messages for the temporary queue, and return how many there were."""
        services = self._services
        deadline = time.monotonic() + services.options.request_timeout
        pulled = services.client.pull(self.queue_id, most, LEASE_SECONDS, deadline).messages
        for entry in pulled:
            delivery = Delivery.pulled(self.queue_id, entry)
            try:
                for message in self._read(delivery):
                    if self._is_bound(message):
                        self._owner.arrive(self.binding.queue, message)
            except Exception as error:  # one message must not hold up the others
                note_trouble(f"temporary queue {self.binding.queue}", error, "it is dropped")
            services.acknowledger.ack(delivery)
        return len(pulled)

    def _read(self, delivery: Delivery) -> Iterator[dict[str, Any]]:
        """Yield the messages of a delivery; none for a probe, or where they can't be read."""
        entry = delivery.entry
        if envelope.probed(entry):
            return  # its removal shows that this process reads the queue
        try:
            for each in bundle.unpack(entry):
                message = envelope.decode(each)
                poison.check(message)
                if claim_check.is_reference(message):
                    message = self._services.claim_checks.read(each, message)
                    delivery.object_key = claim_check.key_of(message)
                expiry.limit(message, entry.get("timestamp_ms"), self._message_ttl())
                yield message
        except (ValueError, TypeError, KeyError, ObjectStoreError) as error:
            logger.error("cloudflare: a message to %s is dropped: %s", self.binding.queue, error)

    def _message_ttl(self) -> float | None:
        """Return the temporary queue's message TTL (s), if it has one.

        Events are sent and pulled at a slow pace, so theirs, which Celery sets to a few seconds, is
        a minute at least.
        """
        ttl = self._services.memory.message_ttl(self.binding.queue)
        if ttl is None or self.binding.type != "topic":
            return ttl
        return max(ttl, BINDING_RETENTION_MIN)

    def _is_bound(self, message: dict[str, Any]) -> bool:
        pattern, info = self.binding.pattern, message["properties"]["delivery_info"]
        if pattern is None or not info.get("exchange"):  # the default exchange has no patterns
            return True
        return matches(pattern, str(info.get("routing_key") or ""))

    def _reopen(self) -> None:
        """Create the binding queue again: another process reaped it, or an operator deleted it."""
        directory = self._services.directory
        directory.forget_binding(self.name)
        try:
            self.queue_id = directory.open_binding(
                self.name, binding_retention(self._expires)
            ).queue_id
        except CloudflareError as error:
            logger.warning("cloudflare: temporary queue %s: %s", self.binding.queue, error)
            self._thread.stopping.wait(OUTAGE_PAUSE)
