"""This process's mailboxes: what other processes send to its temporary queues."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from cutmv.transports.cloudflare.api.client import Client
from cutmv.transports.cloudflare.edge.hub_client import Delivery, Hub
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    ObjectStoreError,
    QueueMissing,
)
from cutmv.transports.cloudflare.fanout.memory import LocalBroker
from cutmv.transports.cloudflare.fanout.temporary_queue import Binding, Mailbox, retention
from cutmv.transports.cloudflare.leases.acknowledger import Settler
from cutmv.transports.cloudflare.messages import claim_check as large
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.messages.claim_check import LargeMessages
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import Address
from cutmv.transports.cloudflare.queues.directory import QueueDirectory

logger = logging.getLogger(__name__)

#: Seconds for which the hub is there before a mailbox that stood in for it is closed: by then no
#: publisher believes a list from before.
STAND_DOWN = 60.0

#: Ids of messages remembered, to tell the second copy of one whose publish or removal got lost.
REMEMBERED = 1000

#: Seconds that deleting a mailbox may take; one that stays is reaped by those who publish to it.
DELETE_TIMEOUT = 2.0

#: Seconds a look into a mailbox may take.
LOOK_TIMEOUT = 10.0


class Mailboxes:
    """The mailboxes of a process. `on_message` is called when one of them got something."""

    def __init__(
        self,
        client: Client,
        directory: QueueDirectory,
        settler: Settler,
        local: LocalBroker,
        large: LargeMessages,
        *,
        options: Options,
        hub: Hub | None,
        on_message: Callable[[], None],
    ) -> None:
        self.client, self.directory, self.settler = client, directory, settler
        self.local, self.large, self.options = local, large, options
        self.on_message = on_message
        self._lock = threading.Lock()
        self._standing_in = threading.Lock()
        self._opening = threading.Lock()  # held during calls, which nobody else should wait for
        self._wanted: dict[Binding, float | None] = {}
        self._open: dict[Binding, Mailbox] = {}
        self._seen: dict[str, OrderedDict[str, None]] = {}
        self._hub = hub
        if hub is not None:
            hub.on_delivery, hub.on_away = self._take_delivery, self._stand_in
        self._addresses: set[Address] = set()  # of those that are being closed, too
        self._refused = not (options.fanout and options.create_missing_queues)

    @property
    def addresses(self) -> set[Address]:
        """Where this process gets its own messages, which need no call to reach it."""
        with self._lock:
            return self._addresses.copy()

    def open(self, binding: Binding, expires: float | None = None) -> None:
        """Let other processes reach a temporary queue by this binding.

        A mailbox whose queue nobody has read for `expires` seconds is deleted. Declaring and
        binding the queue again opens it again.

        Where there is a hub it does the work, and a mailbox is opened only for what others may
        have put there before. Where the token may not create queues, it is told once, and the
        binding stays inside this process.
        """
        self._wanted[binding] = expires
        hub = self._hub
        if hub is not None:
            hub.bind(binding.exchange, binding.kind, binding.key, binding.queue)
        self._open_mailbox(binding, expires, needed=hub is None or not hub.connected)

    def _open_mailbox(self, binding: Binding, expires: float | None, *, needed: bool) -> None:
        if self._refused:
            return
        scope = self.options.queue_name_prefix
        address = Address.of(scope, binding.exchange, binding.kind, binding.key, binding.queue)
        with self._opening:
            if binding in self._open:
                return
            made = not self.directory.knows(address)
            if made and not needed:
                return
            try:
                opened = self.directory.open_mailbox(address, retention(expires))
            except (AccessDenied, QueueMissing) as error:
                self._refused = True
                logger.warning(
                    "cloudflare: remote control and events stay inside this process: %s", error
                )
                return
            self.settler.start()
            mailbox = Mailbox(binding, address, opened.queue_id, self, expires, made=made)
            with self._lock:
                self._addresses.add(address)
                self._open[binding] = mailbox
        mailbox.start()

    def arrive(self, queue: str, message: dict[str, Any]) -> None:
        """Give a message to a temporary queue, unless it came before by the other way."""
        message_id = str(message["properties"]["message_id"])
        with self._lock:
            seen = self._seen.setdefault(queue, OrderedDict())
            if message_id in seen:
                return
            seen[message_id] = None
            if len(seen) > REMEMBERED:
                seen.popitem(last=False)
        self.local.put(queue, message)

    def _take_delivery(self, delivery: Delivery) -> None:
        """Take what the hub brings."""
        entry = {"body": delivery.text, "lease_id": "", "id": ""}
        message = envelope.decode(entry)
        if not large.is_reference(message):
            self._give(delivery.queues, message)
            return
        # The hub's thread must not wait for the object store.
        threading.Thread(
            target=self._take_object,
            args=(delivery.queues, entry, message),
            name="cloudflare-mailboxes",
            daemon=True,
        ).start()

    def _take_object(
        self, queues: Iterable[str], entry: dict[str, Any], reference: dict[str, Any]
    ) -> None:
        try:
            message = self.large.read(entry, reference)
        except (ValueError, TypeError, KeyError, ObjectStoreError) as error:
            logger.error("cloudflare: a message by the hub is dropped: %s", error)
            return
        self._give(queues, message)
        self.large.discard([message["large"]["key"]])

    def _give(self, queues: Iterable[str], message: dict[str, Any]) -> None:
        bound = {binding.queue for binding in list(self._wanted)}
        for queue in bound.intersection(queues):
            self.arrive(queue, message)

    def _stand_in(self) -> None:
        """Have mailboxes do the hub's work, in a thread of its own: the hub's is to reconnect."""
        if self._standing_in.acquire(blocking=False):
            threading.Thread(
                target=self._open_all, name="cloudflare-mailboxes", daemon=True
            ).start()

    def _open_all(self) -> None:
        try:
            for binding, expires in list(self._wanted.items()):
                self._open_mailbox(binding, expires, needed=True)
        except CloudflareError as error:  # the hub calls again
            logger.debug("cloudflare: a mailbox can't stand in for the hub: %s", error)
        finally:
            self._standing_in.release()

    def retire(self, mailbox: Mailbox) -> bool:
        """Close a mailbox that stood in for the hub, once that is back and nothing is left."""
        hub, binding = self._hub, mailbox.binding
        if hub is None or hub.connected_for < STAND_DOWN or mailbox.sent_to or not mailbox.made:
            return False
        deadline = time.monotonic() + DELETE_TIMEOUT
        try:
            if self.client.backlog(mailbox.queue_id, deadline).count:
                return False
            self.directory.delete_mailbox(mailbox.address, mailbox.queue_id, deadline)
        except CloudflareError:
            return False
        with self._lock:
            self._open.pop(binding, None)
            self._addresses.discard(mailbox.address)
        return True

    def address(self, queue: str, exchange: str) -> Address | None:
        """Return where a task goes that this process has for its own temporary queue.

        Its reader may be another process, which has declared the queue, too. None where there
        are no mailboxes.
        """
        mailboxes = self._of(queue)
        if not mailboxes:
            bound = [binding for binding in list(self._wanted) if binding.queue == queue]
            for binding in bound or [Binding("", "direct", queue, queue)]:
                self._open_mailbox(binding, self.local.expires(queue), needed=True)
            mailboxes = self._of(queue)
        if not mailboxes:
            return None
        through = [each for each in mailboxes if each.binding.exchange == exchange]
        mailbox = (through or mailboxes)[0]
        mailbox.sent_to = True
        return mailbox.address

    def fetch(self, queue: str) -> None:
        """Take one message into a temporary queue that nobody reads, if there is any."""
        any(mailbox.pull(1) for mailbox in self._of(queue))  # until one had something

    def count(self, queue: str) -> int:
        """Return how many messages wait for a temporary queue outside this process."""
        deadline = time.monotonic() + LOOK_TIMEOUT
        ids = [mailbox.queue_id for mailbox in self._of(queue)]
        return sum(self.client.backlog(queue_id, deadline).count for queue_id in ids)

    def purge(self, queue: str) -> None:
        """Drop what waits for a temporary queue outside this process."""
        deadline = time.monotonic() + LOOK_TIMEOUT
        for mailbox in self._of(queue):
            self.client.purge(mailbox.queue_id, deadline)

    def _of(self, queue: str) -> list[Mailbox]:
        with self._lock:
            return [mailbox for each, mailbox in self._open.items() if each.queue == queue]

    def close(
        self, queue: str | None = None, binding: Binding | None = None, *, force: bool = True
    ) -> None:
        """Close the mailboxes of a temporary queue, or the one of a binding, or all.

        They are deleted; without `force`, those are left that belong to another process: this
        one has never read them, and has sent to them or only found them there.
        """
        for each in [b for b in self._wanted if queue in (None, b.queue) and binding in (None, b)]:
            self._wanted.pop(each, None)
            self._seen.pop(each.queue, None)
            if self._hub is not None:
                self._hub.unbind(each.exchange, each.kind, each.key, each.queue)
        with self._lock:
            closing = [
                self._open.pop(each)
                for each in list(self._open)
                if queue in (None, each.queue) and binding in (None, each)
            ]
        for mailbox in closing:
            mailbox.stop()
        if closing:
            self.settler.flush(DELETE_TIMEOUT)
        for mailbox in closing:
            deadline = time.monotonic() + DELETE_TIMEOUT
            mailbox.join(DELETE_TIMEOUT)
            try:
                if force or self._is_own(mailbox, deadline):
                    self.directory.delete_mailbox(mailbox.address, mailbox.queue_id, deadline)
            except CloudflareError as error:
                logger.info(
                    "cloudflare: mailbox of %s is left behind: %s", mailbox.binding.queue, error
                )
            with self._lock:
                self._addresses.discard(mailbox.address)

    def _is_own(self, mailbox: Mailbox, deadline: float) -> bool:
        """Tell whether no other process needs the mailbox any more."""
        if self.local.was_read(mailbox.binding.queue):
            return True
        if mailbox.sent_to or not mailbox.made:
            return False
        return not self.client.backlog(mailbox.queue_id, deadline).count
