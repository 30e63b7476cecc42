"""Sending to other processes' mailboxes, from a thread, so that nobody waits for it.

Two kinds of notices go out. What belongs to remote control (fanout and direct exchanges) goes at
once and is tried until `publish_timeout`. Topic messages (Celery's events) are gathered into few
calls, which have a small budget of their own: where there are more than that lets through, the
oldest are dropped, and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cutmv.transports.cloudflare.api.client import Client
from cutmv.transports.cloudflare.api.rate_limit import Budget
from cutmv.transports.cloudflare.edge.hub_client import Hub, fits
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    MessageTooLarge,
    NotFound,
    Throttled,
)
from cutmv.transports.cloudflare.fanout.temporary_queue import RETENTION_MIN
from cutmv.transports.cloudflare.fanout.temporary_queues import Mailboxes
from cutmv.transports.cloudflare.messages.claim_check import LargeMessages
from cutmv.transports.cloudflare.messages.envelope import in_calls, size
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import Address, exchange_digest
from cutmv.transports.cloudflare.queues.directory import QueueDirectory

logger = logging.getLogger(__name__)

#: Seconds for which the list of mailboxes is believed, for remote control and for events.
FRESH, FRESH_FOR_EVENTS = 2.0, 30.0

#: The same for events where the hub takes them: mailboxes are of the few that it does not reach.
FRESH_BESIDE_HUB = 300.0

#: Seconds after which the list is asked for again when a reply's mailbox is not on it.
FRESH_FOR_REPLIES = 0.3

#: Seconds that events wait for others to share a call with.
LINGER = 0.25

#: The same where the hub takes them, which counts no calls.
HUB_LINGER = 0.002

#: Events kept while their budget is used up, and other notices while Cloudflare does not answer;
#: the oldest make room.
MAX_WAITING = 10_000

#: Seconds a call for events may take: remote control waits behind it.
EVENT_TIMEOUT = 2.0

#: Seconds until events are sent again after the account's calls became few.
SCARCE_PAUSE = 5.0

#: Seconds between looks whether somebody reads a mailbox, and the age of a message that nobody
#: has read in it, which shows that nobody does: of one that keeps messages for the least time.
REAP_EVERY, UNREAD = 120.0, 30.0


@dataclass(frozen=True, slots=True)
class Notice:
    """A message for whoever is bound to an exchange; `at` is when it came to be sent."""

    exchange: str
    kind: str
    routing_key: str
    text: str
    at: float = field(default_factory=time.monotonic)


class Broadcaster:
    """Sends notices to the mailboxes that other processes have; its thread starts at the first."""

    def __init__(
        self,
        client: Client,
        directory: QueueDirectory,
        own: Mailboxes,
        large: LargeMessages,
        *,
        options: Options,
        hub: Hub | None,
    ) -> None:
        self._hub = hub
        self._client, self._directory, self._own = client, directory, own
        self._large, self._options = large, options
        limit = int(client.budget.limit * options.event_rate_share)
        self._event_budget = Budget(max(1, limit) if limit else 0, options.rate_window)
        self._silent = not options.fanout or (options.rate_limit and not limit)
        #: Notices that found no room, or were not accepted.
        self.dropped = 0
        self._change = threading.Condition()
        self._urgent: deque[Notice] = deque()
        self._events: deque[Notice] = deque()
        self._events_due = 0.0
        self._stale = False
        self._list_due = False
        self._freshened_at = 0.0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._looked_at: dict[str, float] = {}

    def wants(self, exchange: str, kind: str) -> bool:
        """Tell whether somebody may be bound to an exchange; costs no call."""
        if not self._options.fanout or (kind == "topic" and self._silent):
            return False
        if kind == "fanout" or self._hub is not None:
            return True
        stale = kind == "topic" and (self._stale or self._directory.age > FRESH_FOR_EVENTS)
        return stale or bool(self._others(exchange))

    def send(self, notice: Notice) -> None:
        """Hand over a notice."""
        with self._change:
            waiting = self._events if notice.kind == "topic" else self._urgent
            if not self._events:
                linger = HUB_LINGER if self._has_hub else LINGER
                self._events_due = max(self._events_due, time.monotonic() + linger)
            if len(waiting) >= MAX_WAITING:
                waiting.popleft()
                self.dropped += 1
            waiting.append(notice)
            self._wake()

    def deliver(self, notice: Notice) -> bool:
        """Send a notice before this returns, and tell whether it was for somebody.

        It is for who is bound when it is sent. Raises a `CloudflareError` where one of them did
        not get it within `publish_timeout`.
        """
        deadline = time.monotonic() + self._options.publish_timeout
        routed = self.by_hub(notice)
        believed = FRESH if notice.kind == "fanout" and routed is None else float("inf")
        self._directory.refresh(believed, deadline)
        targets = self._targets(notice)
        if routed and not targets:
            return True
        if not targets and notice.kind == "direct" and self._may_lack_mailbox(notice):
            self._directory.refresh(FRESH_FOR_REPLIES, deadline)
            targets = self._targets(notice)
        failure: CloudflareError | None = None
        for address, queue_id in targets.items():
            try:
                self._publish(address, queue_id, [self._large.fit(notice.text)], deadline)
            except CloudflareError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        if targets:
            return True
        if not notice.exchange and self._directory.knows(notice.routing_key):
            # The default exchange: the key is the name of a queue, a lasting one here.
            queue_id = self._directory.get(notice.routing_key, deadline).queue_id
            self._client.publish(queue_id, [(self._large.fit(notice.text), None)], deadline)
            return True
        if notice.kind == "direct":
            logger.info(
                "cloudflare: a message to exchange %r with key %r is for no queue, and is dropped",
                notice.exchange,
                notice.routing_key,
            )
        return False

    def by_hub(self, notice: Notice) -> int | None:
        """Publish by the hub; return to how many it went, or none where there is no hub.

        Raises as `LargeMessages.fit` does.
        """
        if self._hub is None:
            return None
        self._hub.start()
        text = notice.text
        if notice.kind == "direct" and self._hub.connected and not fits(text):
            text = self._large.fit(text)  # a reply: the object is for one reader, who ends it
        return self._hub.publish(notice.exchange, notice.kind, notice.routing_key, text)

    @property
    def _has_hub(self) -> bool:
        return self._hub is not None and self._hub.connected

    def reaches(self, exchange: str, kind: str, routing_key: str) -> bool:
        """Tell whether another process may be bound to such a message, as far as is known."""
        if self._hub is not None:
            self._hub.start()
        return self._has_hub or bool(self._targets(Notice(exchange, kind, routing_key, "")))

    def freshen(self, max_age: float | None = None) -> None:
        """Have the list of queues renewed, by the thread, if it is old: bindings may have come.

        Old is what is older than `max_age` seconds (default: `FRESH_FOR_EVENTS`).
        """
        max_age = FRESH_FOR_EVENTS if max_age is None else max_age
        now = time.monotonic()
        if self._directory.age < max_age or now - self._freshened_at < max_age:
            return
        with self._change:
            self._freshened_at, self._list_due = now, True
            self._wake()

    def look_again(self) -> None:
        """Believe the list no longer: who starts to listen for events says so by a command."""
        self._stale = True

    def close(self, timeout: float) -> None:
        """Send what waits, within `timeout` seconds, and end the thread."""
        with self._change:
            self._closing = True
            self._events_due = 0.0
            self._change.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        if self.dropped:
            logger.info("cloudflare: %d event(s) and commands were dropped", self.dropped)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="cloudflare-broadcaster", daemon=True
            )
            self._thread.start()
        self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._is_time():
                    self._change.wait(self._wait())
                urgent = list(self._urgent)
                self._urgent.clear()
                list_due, self._list_due = self._list_due, False
                events: list[Notice] = []
                if self._events and time.monotonic() >= self._events_due:
                    events = list(self._events)
                    self._events.clear()
                if self._closing and not urgent and not events:
                    return
            for notice in urgent:
                self._send_urgent(notice)
            if events:
                self._send_events(events)
            if list_due:
                self._refresh()

    def _is_time(self) -> bool:
        due = bool(self._events) and time.monotonic() >= self._events_due
        return bool(self._urgent) or due or self._list_due or self._closing

    def _wait(self) -> float | None:
        return max(0.0, self._events_due - time.monotonic()) if self._events else None

    def _refresh(self) -> None:
        try:
            self._directory.refresh(FRESH_FOR_EVENTS, time.monotonic() + EVENT_TIMEOUT)
        except CloudflareError as error:
            logger.debug("cloudflare: the list of queues stays as it is: %s", error)

    def _send_urgent(self, notice: Notice) -> None:
        try:
            self.deliver(notice)
        except MessageTooLarge as error:
            self._refuse(error)
        except CloudflareError as error:
            self.dropped += 1
            logger.warning("cloudflare: a message to exchange %r: %s", notice.exchange, error)

    def _may_lack_mailbox(self, notice: Notice) -> bool:
        """Tell whether to list the queues again for a reply, once that may be done.

        Who waits for it made its mailbox before it asked; the list may be from before that. A
        message that is for nobody must not use up the account's calls.
        """
        if self._directory.age <= time.monotonic() - notice.at or self._client.budget.scarce:
            return False
        with self._change:
            pause = max(0.0, FRESH_FOR_REPLIES - self._directory.age)
            return not self._change.wait_for(lambda: self._closing, pause)

    def _send_events(self, events: list[Notice]) -> None:
        """Send events to all who listen, or put them back until the budget has room."""
        deadline = time.monotonic() + EVENT_TIMEOUT
        if self._hub is not None and self._hub.announce(
            (each.exchange, each.kind, each.routing_key, each.text) for each in events
        ):
            # Of mailboxes there are those of who has no hub.
            self._directory.refresh(float("inf"), deadline)
            events = [each for each in events if self._targets(each)]
            if not events:
                self.freshen(FRESH_BESIDE_HUB)
                return
        if self._client.budget.scarce:  # what is left is for tasks
            self._postpone(events, SCARCE_PAUSE)
            return
        try:
            max_age = 0.0 if self._stale else FRESH_FOR_EVENTS
            if self._directory.age > max_age:
                self._event_budget.take(time.monotonic())
                self._directory.refresh(max_age, deadline)
                self._stale = False
            gathered: dict[tuple[Address, str], list[str]] = defaultdict(list)
            for notice in events:
                for target in self._targets(notice).items():
                    gathered[target].append(notice.text)
            calls = [
                (target, part)
                for target, waiting in gathered.items()
                for part in in_calls(waiting, size)
            ]
            for _ in calls:
                self._event_budget.take(time.monotonic())
        except Throttled as error:
            self._postpone(events, error.retry_after or LINGER)
            return
        except CloudflareError as error:
            self._drop(len(events), error)
            return
        for (address, queue_id), part in calls:
            try:
                texts = [text for text in map(self._fit, part) if text]
                self._publish(address, queue_id, texts, deadline)
            except CloudflareError as error:
                self._drop(len(part), error)

    def _postpone(self, events: list[Notice], seconds: float) -> None:
        with self._change:
            if self._closing:
                self.dropped += len(events)
                return
            waiting = [*events, *self._events]
            self.dropped += max(0, len(waiting) - MAX_WAITING)
            self._events = deque(waiting[-MAX_WAITING:])
            self._events_due = time.monotonic() + seconds

    def _drop(self, count: int, error: CloudflareError) -> None:
        self.dropped += count
        logger.debug("cloudflare: %d event(s) dropped: %s", count, error)

    def _others(self, exchange: str) -> dict[Address, str]:
        """The mailboxes bound to an exchange, but those of this process."""
        digest = exchange_digest(self._options.queue_name_prefix, exchange)
        known = self._directory.mailboxes(digest)
        if not known:
            return {}
        own = self._own.addresses
        return {address: id_ for address, id_ in dict(known).items() if address not in own}

    def _targets(self, notice: Notice) -> dict[Address, str]:
        others = self._others(notice.exchange).items()
        return {a: id_ for a, id_ in others if a.takes(notice.kind, notice.routing_key)}

    def _publish(
        self, address: Address, queue_id: str, texts: Sequence[str], deadline: float
    ) -> None:
        if not texts:
            return
        try:
            self._client.publish(queue_id, [(text, 0) for text in texts], deadline)
        except NotFound:
            self._directory.forget_mailbox(address)
            return
        self._reap(address, queue_id)

    def _fit(self, text: str) -> str | None:
        """Return what to publish for an event; an object it has is for one reader, who ends it.

        None, with a warning, for one that is too large.
        """
        try:
            return self._large.fit(text)
        except (MessageTooLarge, CloudflareError) as error:
            self._refuse(error)
            return None

    def _refuse(self, error: Exception) -> None:
        self.dropped += 1
        logger.warning("cloudflare: an event or reply is dropped: %s", error)

    def _reap(self, address: Address, queue_id: str) -> None:
        """Delete a mailbox in which messages lie that nobody reads: its process is gone."""
        now = time.monotonic()
        looked_at = self._looked_at.setdefault(queue_id, now)
        if now - looked_at < REAP_EVERY:
            return
        if len(self._looked_at) > MAX_WAITING:  # those of mailboxes that are gone, most of them
            self._looked_at.clear()
        self._looked_at[queue_id] = now
        deadline = now + EVENT_TIMEOUT
        oldest = self._client.backlog(queue_id, deadline).oldest
        patience = UNREAD * self._directory.retention(address) / RETENTION_MIN
        if oldest is not None and time.time() - oldest > patience:
            self._directory.delete_mailbox(address, queue_id, deadline)
            logger.info("cloudflare: a mailbox that nobody reads is deleted: %s", address.name)
