"""One mailbox: a queue of the account that holds what others sent to a temporary queue here."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cutmv.transports.cloudflare.api.client import full_jitter
from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, ObjectStoreError
from cutmv.transports.cloudflare.leases.acknowledger import Lease
from cutmv.transports.cloudflare.messages import claim_check as large
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.queues.bindings import Address, matches
from cutmv.transports.cloudflare.queues.directory import MAILBOX_RETENTION

if TYPE_CHECKING:
    from cutmv.transports.cloudflare.fanout.temporary_queues import Mailboxes

logger = logging.getLogger(__name__)

#: Seconds for which what is sent to a mailbox is kept at least (Cloudflare's bound) and at most,
#: where its queue expires. Remote control's do within seconds: a reader that was away for longer
#: would only act on stale commands.
RETENTION_MIN, RETENTION_MAX = 60, 1_209_600

#: Messages of one pull, and seconds of their lease: they are removed as soon as they are here.
PULL, LEASE = 100, 30.0

#: Seconds between pulls while Cloudflare does not answer, at most.
OUTAGE_PAUSE = 10.0


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
            if not count and self._owner.retire(self):
                return
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
        pulled = owner.client.pull(self.queue_id, most, LEASE, deadline).messages
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
            if self._is_mine(message):
                owner.arrive(self.binding.queue, message)
        if pulled:
            owner.on_message()
        return len(pulled)

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


def retention(expires: float | None) -> int:
    """Return for how many seconds a mailbox keeps messages whose queue expires unread, or not."""
    if expires is None:
        return MAILBOX_RETENTION
    return int(min(max(expires, RETENTION_MIN), RETENTION_MAX))
