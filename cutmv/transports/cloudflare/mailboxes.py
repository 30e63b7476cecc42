"""This process's mailboxes: what other processes send to its temporary queues."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare import envelope, large
from cutmv.transports.cloudflare.addresses import Address, matches
from cutmv.transports.cloudflare.api import Client, full_jitter
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    NotFound,
    ObjectStoreError,
    QueueMissing,
)
from cutmv.transports.cloudflare.fanout import LocalBroker
from cutmv.transports.cloudflare.large import LargeMessages
from cutmv.transports.cloudflare.leases import Lease, Settler
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import MAILBOX_RETENTION, QueueDirectory

logger = logging.getLogger(__name__)

#: Seconds for which what is sent to a mailbox is kept at least (Cloudflare's bound) and at most,
#: where its queue expires. Remote control's do within seconds: a reader that was away for longer
#: would only act on stale commands.
RETENTION_MIN, RETENTION_MAX = 60, 1_209_600

#: Messages of one pull, and seconds of their lease: they are removed as soon as they are here.
PULL, LEASE = 100, 30.0

#: Ids of messages remembered, to tell the second copy of one whose publish or removal got lost.
REMEMBERED = 1000

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0

#: Seconds that deleting a mailbox may take; one that stays is reaped by those who publish to it.
DELETE_TIMEOUT = 2.0

#: Seconds a look into a mailbox may take.
LOOK_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Binding:
    """A temporary queue's binding. `pattern` is a topic's, and none for other exchanges."""

    exchange: str
    kind: str
    key: str
    queue: str

    @property
    def pattern(self) -> str | None:
        """The pattern that a routing key must match, where there is one."""
        return self.key if self.kind == "topic" else None


class Mailbox:
    """A thread that pulls one mailbox while somebody reads its queue.

    `made` tells whether this process made the mailbox, and `sent_to` whether it has put a task
    into it, which another process may be about to take.
    """

    def __init__(
        self,
        binding: Binding,
        address: Address,
        queue_id: str,
        owner: Mailboxes,
        expires: float | None,
        *,
        made: bool,
    ) -> None:
        self.binding, self.address, self.queue_id = binding, address, queue_id
        self.made, self.sent_to = made, False
        self._owner, self._expires = owner, expires
        self._stop = threading.Event()
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._thread = threading.Thread(
            target=self._run, name=f"cloudflare-mailbox-{binding.queue}", daemon=True
        )

    def start(self) -> None:
        """Start pulling."""
        self._thread.start()

    def stop(self) -> None:
        """Pull no more."""
        self._stop.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, unless it is the one that asks."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        options = self._owner.options
        pause, failures = options.polling_interval_min, 0
        read_at = time.monotonic()
        while not self._stop.is_set():
            if not self._owner.local.is_read(self.binding.queue):
                if self._expires and time.monotonic() - read_at > self._expires:
                    self._owner.close(self.binding.queue, force=False)
                    return
                pause = options.polling_interval_min
                self._stop.wait(pause)
                continue
            read_at = time.monotonic()
            try:
                count = self.pull(PULL)
            except NotFound:
                self._reopen()
                continue
            except CloudflareError as error:
                failures += 1
                if failures == 2:
                    logger.warning("cloudflare: mailbox of %s: %s", self.binding.queue, error)
                self._stop.wait(full_jitter(failures, most=OUTAGE_PAUSE) + (error.retry_after or 0))
                continue
            failures = 0
            pause = (
                options.polling_interval_min
                if count
                else min(pause * 1.5, options.control_polling_interval)
            )
            if count < PULL:
                self._stop.wait(random.uniform(pause / 2, pause))

    def pull(self, most: int) -> int:
        """Take what has come, up to `most` messages, and return how many there were."""
        owner = self._owner
        deadline = time.monotonic() + owner.options.request_timeout
        pulled = owner.client.pull(self.queue_id, most, LEASE, deadline)
        for entry in pulled:
            lease = Lease(self.queue_id, entry["lease_id"])
            if envelope.probed(entry):
                owner.settler.ack(lease)
                continue  # to take it is the answer
            try:
                message = envelope.decode(entry)
                if large.is_reference(message):
                    message = owner.large.read(entry, message)
                    lease.object_key = large.key_of(message)
            except (ValueError, TypeError, KeyError, ObjectStoreError) as error:
                owner.settler.ack(lease)
                logger.error(
                    "cloudflare: a message to %s is dropped: %s", self.binding.queue, error
                )
                continue
            owner.settler.ack(lease)
            if self._is_new(message) and self._is_mine(message):
                owner.local.put(self.binding.queue, message)
        if pulled:
            owner.on_message()
        return len(pulled)

    def _is_new(self, message: dict[str, Any]) -> bool:
        message_id = message["properties"]["message_id"]
        if message_id in self._seen:
            return False
        self._seen.append(message_id)
        return True

    def _is_mine(self, message: dict[str, Any]) -> bool:
        pattern = self.binding.pattern
        key = str(message["properties"]["delivery_info"].get("routing_key") or "")
        return pattern is None or matches(pattern, key)

    def _reopen(self) -> None:
        """Make the queue again: somebody took it for an orphan's, or deleted it by hand."""
        self._owner.directory.forget_mailbox(self.address)
        try:
            self.queue_id = self._owner.directory.open_mailbox(
                self.address, retention(self._expires)
            ).queue_id
        except CloudflareError as error:
            logger.warning("cloudflare: mailbox of %s: %s", self.binding.queue, error)
            self._stop.wait(OUTAGE_PAUSE)


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
        on_message: Callable[[], None],
    ) -> None:
        self.client, self.directory, self.settler = client, directory, settler
        self.local, self.large, self.options = local, large, options
        self.on_message = on_message
        self._lock = threading.Lock()
        self._opening = threading.Lock()  # held during calls, which nobody else should wait for
        self._open: dict[Binding, Mailbox] = {}
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

        Where the token may not create queues, it is told once, and the binding stays inside
        this process.
        """
        if self._refused:
            return
        scope = self.options.queue_name_prefix
        address = Address.of(scope, binding.exchange, binding.kind, binding.key, binding.queue)
        with self._opening:
            if binding in self._open:
                return
            made = not self.directory.knows(address)
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

    def address(self, queue: str, exchange: str) -> Address | None:
        """Return where a task goes that this process has for its own temporary queue.

        Its reader may be another process, which has declared the queue, too. None where there
        are no mailboxes.
        """
        mailboxes = self._of(queue)
        if not mailboxes:
            self.open(Binding("", "direct", queue, queue), self.local.expires(queue))
            mailboxes = self._of(queue)
        if not mailboxes:
            return None
        through = [each for each in mailboxes if each.binding.exchange == exchange]
        mailbox = (through or mailboxes)[0]
        mailbox.sent_to = True
        return mailbox.address

    def fetch(self, queue: str) -> None:
        """Take one message into a temporary queue that nobody reads, if there is any."""
        if any(mailbox.pull(1) for mailbox in self._of(queue)):
            return

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


def retention(expires: float | None) -> int:
    """Return for how many seconds a mailbox keeps messages whose queue expires unread, or not."""
    if expires is None:
        return MAILBOX_RETENTION
    return int(min(max(expires, RETENTION_MIN), RETENTION_MAX))
