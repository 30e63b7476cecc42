"""Lets other processes reach this process's temporary queues: by the hub, or by binding queues."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cutmv.transports.cloudflare.edge import HubClient, HubMessage
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    ObjectStoreError,
    QueueMissing,
)
from cutmv.transports.cloudflare.fanout.binding_poller import BindingPoller, FanoutServices
from cutmv.transports.cloudflare.fanout.commands import BINDINGS
from cutmv.transports.cloudflare.messages import claim_check, envelope, expiry, poison
from cutmv.transports.cloudflare.queues import Binding, TemporaryBinding, binding_retention
from cutmv.transports.cloudflare.runtime import each_in_parallel, run_aside

logger = logging.getLogger(__name__)

#: Seconds for which a connection to the hub must last before a binding queue that stood in for it
#: is deleted: by then no publisher believes an older list of queues.
STAND_IN_AFTER_HUB = 60.0

#: Ids of messages remembered, to recognise a second copy, which comes when the response to a
#: publish or an ack got lost.
MAX_SEEN_IDS = 1000

#: Bindings of which a process tells at most: those made last.
MAX_INTRODUCTIONS = 10

#: Seconds that deleting a binding queue may take; the reapers of publishers delete one that stays.
DELETE_TIMEOUT = 2.0

#: Binding queues that are deleted at the same time, so that many take no longer than one.
MAX_DELETERS = 16

#: Seconds that counting or purging the messages of a temporary queue's binding queues may take.
COUNT_TIMEOUT = 10.0


class TemporaryQueues:
    """The bindings of a process's temporary queues. Threads share it.

    `on_introduced` is called with each binding, and the id of its binding queue, of which a message
    of another process tells.
    """

    def __init__(self, services: FanoutServices, hub: HubClient | None) -> None:
        self._services, self._hub = services, hub
        self.on_introduced: Callable[[TemporaryBinding, str], None] = lambda *_: None
        self._client, self._directory = services.client, services.directory
        self._memory, self._options = services.memory, services.options
        self._lock = threading.Lock()
        self._standing_in = threading.Lock()
        self._opening = threading.Lock()  # held during calls; only openers wait for it
        self._wanted: dict[Binding, float | None] = {}
        self._pollers: dict[Binding, BindingPoller] = {}
        self._seen: dict[str, OrderedDict[str, None]] = {}
        self._asides: list[threading.Thread] = []
        self._closing = False
        if hub is not None:
            hub.on_message, hub.on_away = self._take_hub_message, self._stand_in
        self._names: set[TemporaryBinding] = set()  # also of bindings that are being closed
        self._refused = not (self._options.fanout and self._options.create_missing_queues)

    @property
    def names(self) -> set[TemporaryBinding]:
        """This process's own binding queues, to which it need not publish."""
        with self._lock:
            return self._names.copy()

    def bound_to(self, suffix: str) -> str | None:
        """Return a fanout exchange of such a name to which a temporary queue is bound, if any."""
        bound = [each.exchange for each in list(self._wanted) if each.type == "fanout"]
        return next((each for each in bound if each.endswith(suffix)), None)

    def introductions(self) -> dict[str, str]:
        """Return the bindings to tell others of, by name, each with the id of its binding queue.

        These are what replies and events come by: a process that reads of them need not list the
        queues to answer.
        """
        with self._lock:
            pollers = list(self._pollers.values())
        told = [each for each in pollers if each.binding.exchange and each.binding.type != "fanout"]
        return {each.name.name: each.queue_id for each in told[-MAX_INTRODUCTIONS:]}

    def bind(self, binding: Binding, expires: float | None = None) -> None:
        """Let other processes reach a temporary queue by this binding.

        A binding whose temporary queue has had no reader for `expires` seconds is deleted.
        Declaring and binding the queue again creates it again.

        While there is a connection to the hub, it carries the messages, and a binding queue is
        pulled only if it exists already, for messages that other processes may have put there
        before. Where the token may not create queues, a warning is logged once, and the binding
        stays inside this process.
        """
        self._wanted[binding] = expires
        hub = self._hub
        if hub is not None:
            hub.bind(binding)
            hub.bind(_by_name(binding.queue))
        self._open(binding, expires, needed=hub is None or not hub.connected)

    def _open(self, binding: Binding, expires: float | None, *, needed: bool) -> None:
        if self._refused:
            return
        name = TemporaryBinding.of(self._options.queue_name_prefix, binding)
        with self._opening:
            if binding in self._pollers:
                return
            made = not self._directory.knows(name)
            if made and not needed:
                return
            try:
                opened = self._directory.open_binding(name, binding_retention(expires))
            except (AccessDenied, QueueMissing) as error:
                self._refused = True
                logger.warning(
                    "cloudflare: remote control and events stay inside this process: %s", error
                )
                return
            self._services.acknowledger.start()
            poller = BindingPoller(
                binding,
                name,
                opened.queue_id,
                services=self._services,
                owner=self,
                expires=expires,
                made=made,
            )
            with self._lock:
                self._names.add(name)
                self._pollers[binding] = poller
        poller.start()

    def arrive(self, queue: str, message: dict[str, Any]) -> None:
        """Give a message to a temporary queue, unless a copy of it came before."""
        introduced = message["properties"].pop(BINDINGS, None)
        for name, queue_id in introduced.items() if isinstance(introduced, dict) else ():
            binding = TemporaryBinding.read(name)
            if binding is not None and isinstance(queue_id, str):
                self.on_introduced(binding, queue_id)
        publish_id = envelope.publish_id(message)
        if not self._memory.has(queue) or expiry.is_over(message):
            return
        with self._lock:
            seen = self._seen.setdefault(queue, OrderedDict())
            if publish_id in seen:
                return
            if publish_id:
                seen[publish_id] = None
            if len(seen) > MAX_SEEN_IDS:
                seen.popitem(last=False)
        self._memory.put(queue, message)

    def _take_hub_message(self, came: HubMessage) -> None:
        entry = {"body": came.text, "lease_id": "", "id": ""}
        message = envelope.decode(entry)
        poison.check(message)
        if not claim_check.is_reference(message):
            self._give(came.queues, message)
            return
        # The hub's thread must not wait for the object store.
        self._aside("hub-object", lambda: self._take_object(came.queues, entry, message))

    def _aside(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` in a thread of its own, for which `close` waits."""
        self._asides = [thread for thread in self._asides if thread.is_alive()]
        self._asides.append(run_aside(name, work))

    def close(self, timeout: float) -> None:
        """Remove all bindings, and wait up to `timeout` seconds for the threads at work.

        A binding queue that this process neither created nor read, or has sent a task to, is left.
        """
        self._closing = True
        self.unbind(force=False)
        deadline = time.monotonic() + timeout
        for thread in self._asides:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _take_object(
        self, queues: Iterable[str], entry: dict[str, Any], reference: dict[str, Any]
    ) -> None:
        claim_checks = self._services.claim_checks
        try:
            message = claim_checks.read(entry, reference)
        except (ValueError, TypeError, KeyError, ObjectStoreError) as error:
            logger.error("cloudflare: a message by the hub is dropped: %s", error)
            return
        self._give(queues, message)
        claim_checks.discard(filter(None, [claim_check.key_of(message)]))

    def _give(self, queues: Iterable[str], message: dict[str, Any]) -> None:
        bound = {binding.queue for binding in list(self._wanted)}
        for queue in bound.intersection(queues):
            self.arrive(queue, message)

    def _stand_in(self) -> None:
        """Open binding queues in place of the hub, in a thread: the hub client's reconnects."""
        if self._standing_in.acquire(blocking=False):
            self._aside("stand-in", self._open_all)

    def _open_all(self) -> None:
        try:
            for binding, expires in list(self._wanted.items()):
                self._open(binding, expires, needed=True)
        except CloudflareError as error:  # the hub client calls again
            logger.debug("cloudflare: a queue can't stand in for the hub: %s", error)
        finally:
            self._standing_in.release()

    def retire(self, poller: BindingPoller) -> bool:
        """Delete an empty binding queue that stood in for the hub, if the hub is back for good."""
        hub = self._hub
        if hub is None or hub.connected_for < STAND_IN_AFTER_HUB:
            return False
        if poller.sent_to or not poller.made:
            return False
        deadline = time.monotonic() + DELETE_TIMEOUT
        try:
            if self._client.backlog(poller.queue_id, deadline).count:
                return False
            self._directory.delete_binding(poller.name, poller.queue_id, deadline)
        except CloudflareError:
            return False
        with self._lock:
            self._pollers.pop(poller.binding, None)
            self._names.discard(poller.name)
        return True

    def send_to(self, queue: str, exchange: str) -> TemporaryBinding | None:
        """Return the binding queue for a task that this process sends to its own temporary queue.

        The queue's reader may be another process that has declared the queue, too. Returns none
        where the queue has no binding queue.
        """
        pollers = self._of(queue)
        if not pollers:
            bound = [binding for binding in list(self._wanted) if binding.queue == queue]
            for binding in bound or [_by_name(queue)]:
                self._open(binding, self._memory.expires(queue), needed=True)
            pollers = self._of(queue)
        if not pollers:
            return None
        through = [each for each in pollers if each.binding.exchange == exchange]
        poller = (through or pollers)[0]
        poller.sent_to = True
        return poller.name

    def fetch(self, queue: str) -> None:
        """Pull one message, if there is any, into a temporary queue that has no reader."""
        any(poller.pull(1) for poller in self._of(queue))  # until a pull brought a message

    def count(self, queue: str) -> int:
        """Return how many messages wait in the binding queues of a temporary queue."""
        deadline = time.monotonic() + COUNT_TIMEOUT
        ids = [poller.queue_id for poller in self._of(queue)]
        return sum(self._client.backlog(queue_id, deadline).count for queue_id in ids)

    def purge(self, queue: str) -> None:
        """Remove the messages that wait in the binding queues of a temporary queue."""
        deadline = time.monotonic() + COUNT_TIMEOUT
        for poller in self._of(queue):
            self._client.purge(poller.queue_id, deadline)

    def _of(self, queue: str) -> list[BindingPoller]:
        with self._lock:
            return [poller for each, poller in self._pollers.items() if each.queue == queue]

    def unbind_each(self, queues: Mapping[str, bool]) -> None:
        """Remove the bindings of several temporary queues; the value says whether with `force`."""
        each_in_parallel(
            "unbind",
            MAX_DELETERS,
            lambda each: self.unbind(each[0], force=each[1]),
            queues.items(),
        )

    def expire(self, queue: str) -> None:
        """Delete a temporary queue that has had no reader for too long."""
        self.unbind(queue, force=False)
        self._memory.delete_unused(queue)

    def unbind(
        self, queue: str | None = None, binding: Binding | None = None, *, force: bool = True
    ) -> None:
        """Remove the bindings of a temporary queue, or one of them, or all of this process.

        Their binding queues are deleted. Without `force`, a binding queue that another process may
        need is left: this process has never read its temporary queue, and has sent a task there,
        did not create it, or finds messages in it.
        """
        wanted = list(self._wanted)  # other threads unbind, too
        for each in [b for b in wanted if queue in (None, b.queue) and binding in (None, b)]:
            self._wanted.pop(each, None)
            self._seen.pop(each.queue, None)
            if self._hub is not None:
                self._hub.unbind(each)
                if not any(other.queue == each.queue for other in list(self._wanted)):
                    self._hub.unbind(_by_name(each.queue))
        with self._lock:
            closing = [
                self._pollers.pop(each)
                for each in list(self._pollers)
                if queue in (None, each.queue) and binding in (None, each)
            ]
        for poller in closing:
            poller.stop()
        if closing:
            self._services.acknowledger.flush_calls(DELETE_TIMEOUT)
        each_in_parallel("unbind", MAX_DELETERS, lambda each: self._delete(each, force), closing)

    def _delete(self, poller: BindingPoller, force: bool) -> None:
        """Delete the binding queue of a poller that was told to stop, unless another needs it."""
        deadline = time.monotonic() + DELETE_TIMEOUT
        poller.join(DELETE_TIMEOUT)
        try:
            if force or self._is_own(poller, deadline):
                self._directory.delete_binding(poller.name, poller.queue_id, deadline)
        except CloudflareError as error:
            logger.info(
                "cloudflare: a binding of %s is left behind: %s", poller.binding.queue, error
            )
        with self._lock:
            self._names.discard(poller.name)

    def _is_own(self, poller: BindingPoller, deadline: float) -> bool:
        """Return whether no other process can need a binding queue any more."""
        if self._memory.was_read(poller.binding.queue):
            return True
        if poller.sent_to or not poller.made:
            return False
        return self._closing or not self._client.backlog(poller.queue_id, deadline).count


def _by_name(queue: str) -> Binding:
    """Return the binding by which the default exchange leads to a queue."""
    return Binding("", "direct", queue, queue)
