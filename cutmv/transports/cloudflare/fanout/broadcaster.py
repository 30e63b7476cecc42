"""The broadcaster: publishes to other processes' temporary queues from a thread of its own.

So no task waits for these messages. Messages of remote control (fanout and direct exchanges) are
sent at once, and retried until `publish_timeout`. Topic messages (Celery's events) are gathered
into few calls, which have a small rate limit of their own: when it lets too few through, the oldest
events are dropped, and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from dataclasses import replace

from cutmv.transports.cloudflare.api import RateLimiter
from cutmv.transports.cloudflare.edge import HubClient, fits
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    MessageTooLarge,
    Throttled,
)
from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.remote_queues import RemoteQueues
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues
from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.messages.limits import in_calls, size
from cutmv.transports.cloudflare.queues import TemporaryBinding
from cutmv.transports.cloudflare.runtime import BackgroundThread, note_trouble

logger = logging.getLogger(__name__)

#: Seconds for which a list of queues is believed, for remote control and for events.
LIST_BELIEVED, LIST_BELIEVED_FOR_EVENTS = 2.0, 30.0

#: The same for events where the hub carries them: only few bindings are not on the hub.
LIST_BELIEVED_BESIDE_HUB = 300.0

#: The same where a reply's temporary queue is not on the list.
LIST_BELIEVED_FOR_REPLIES = 0.3

#: Seconds that events wait for others to share a call.
EVENT_LINGER = 0.25

#: The same where the hub carries them, which needs no metered calls.
HUB_EVENT_LINGER = 0.002

#: Events kept while the rate limiter refuses, and other messages while Cloudflare does not answer;
#: the oldest make room.
MAX_WAITING = 10_000

#: Seconds a call for events may take: remote control waits until it ends.
EVENT_TIMEOUT = 2.0

#: Seconds for which events wait when half of the account's limit of calls is used up.
SCARCE_PAUSE = 5.0


class Broadcaster:
    """Publishes to the temporary queues of other processes; its thread starts at the first message.

    Threads share it; its owner closes it.
    """

    def __init__(
        self, services: FanoutServices, own: TemporaryQueues, hub: HubClient | None
    ) -> None:
        self._client, self._directory = services.client, services.directory
        self._claim_checks, self._options = services.claim_checks, services.options
        self._hub = hub
        self._remote = RemoteQueues(services, own)
        options = services.options
        limit = int(services.client.rate_limiter.limit * options.event_rate_share)
        self._event_limiter = RateLimiter(max(1, limit) if limit else 0, options.rate_window)
        self._silent = not options.fanout or (options.rate_limit and not limit)
        #: Messages that were dropped because there was no room, or that were not accepted.
        self.dropped = 0
        self._change = threading.Condition()
        self._urgent: deque[BroadcastMessage] = deque()
        self._events: deque[BroadcastMessage] = deque()
        self._events_due = 0.0
        self._stale = False
        self._list_due = False
        self._renewed_at = 0.0
        self._thread = BackgroundThread("broadcaster", self._run, self._notify)

    def wants(self, exchange: str, exchange_type: str) -> bool:
        """Return whether another process may have a queue bound to an exchange. Makes no call."""
        if not self._options.fanout or (exchange_type == "topic" and self._silent):
            return False
        if exchange_type == "fanout" or self._hub is not None:
            return True
        stale = exchange_type == "topic" and (
            self._stale or self._directory.age > LIST_BELIEVED_FOR_EVENTS
        )
        return stale or bool(self._remote.bound(exchange))

    def send(self, message: BroadcastMessage) -> None:
        """Hand a message to the thread, which publishes it soon; returns at once."""
        with self._change:
            waiting = self._events if message.type == "topic" else self._urgent
            if not self._events:
                linger = HUB_EVENT_LINGER if self._has_hub else EVENT_LINGER
                self._events_due = max(self._events_due, time.monotonic() + linger)
            if len(waiting) >= MAX_WAITING:
                waiting.popleft()
                self.dropped += 1
            waiting.append(message)
        self._wake()

    def deliver(self, message: BroadcastMessage) -> bool:
        """Publish a message before this returns; return whether any queue was bound to it.

        It goes to the queues that are bound when it is sent. Raises a `CloudflareError` where one
        of them did not get it within `publish_timeout`.
        """
        deadline = time.monotonic() + self._options.publish_timeout
        routed = self.publish_by_hub(message)
        believed = LIST_BELIEVED if message.type == "fanout" and routed is None else float("inf")
        self._directory.refresh(believed, deadline)
        targets = self._remote.targets(message)
        if routed and not targets:
            return True
        if not targets and message.type in ("direct", "") and self._may_lack_binding(message):
            self._directory.refresh(LIST_BELIEVED_FOR_REPLIES, deadline)
            targets = self._remote.targets(message)
        failure, delivered = None, False
        for binding, queue_id in targets.items():
            try:
                delivered |= self._remote.publish(
                    binding, queue_id, [self._claim_checks.fit(message.text)], deadline
                )
            except CloudflareError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        if delivered:
            return True
        if not message.exchange and self._directory.knows(message.routing_key):
            # The default exchange: the key is the name of a queue, here of a durable one.
            queue_id = self._directory.get(message.routing_key, deadline).queue_id
            self._client.publish(queue_id, [(self._claim_checks.fit(message.text), None)], deadline)
            return True
        if message.exchange and message.type in ("direct", ""):
            logger.info(
                "cloudflare: a message to exchange %r with key %r is for no queue, and is dropped",
                message.exchange,
                message.routing_key,
            )
        return False

    def publish_by_hub(self, message: BroadcastMessage) -> int | None:
        """Publish by the hub; return to how many clients it went, or none if that is not known.

        Raises as `ClaimChecks.fit` does.
        """
        if self._hub is None:
            return None
        if not message.type:  # another client has declared the exchange, with one type
            tries = map(self.publish_by_hub, message.of_each_type())
            return next((routed for routed in tries if routed or routed is None), 0)
        self._hub.start()
        text = message.text
        if message.type == "direct" and self._hub.connected and not fits(text):
            # A reply: it has one reader, which removes the object.
            text = self._claim_checks.fit(text)
        return self._hub.publish(replace(message, text=text))

    @property
    def _has_hub(self) -> bool:
        return self._hub is not None and self._hub.connected

    def reaches(self, exchange: str, exchange_type: str, routing_key: str) -> bool:
        """Return whether another process may have a queue bound to such a message."""
        if self._hub is not None:
            self._hub.start()
        return self._has_hub or bool(
            self._remote.targets(BroadcastMessage(exchange, exchange_type, routing_key, ""))
        )

    def renew_list(self, max_age: float | None = None) -> None:
        """Have the thread list the queues again if the list is old, to find new bindings.

        It is old after `max_age` seconds (default: `LIST_BELIEVED_FOR_EVENTS`).
        """
        max_age = LIST_BELIEVED_FOR_EVENTS if max_age is None else max_age
        now = time.monotonic()
        if self._directory.age < max_age or now - self._renewed_at < max_age:
            return
        with self._change:
            self._renewed_at, self._list_due = now, True
        self._wake()

    def disbelieve_list(self) -> None:
        """Have the queues listed again before the next events, since a new binding may exist.

        A process that starts to receive events announces that by a command.
        """
        self._stale = True

    def close(self, timeout: float) -> None:
        """Send the waiting messages, within `timeout` seconds, and end the thread."""
        self._thread.close(timeout)
        if self.dropped:
            logger.info("cloudflare: %d event(s) and commands were dropped", self.dropped)

    def _wake(self) -> None:
        self._thread.start()
        self._notify()

    def _notify(self) -> None:
        with self._change:
            if self._closing:
                self._events_due = 0.0
            self._change.notify_all()

    @property
    def _closing(self) -> bool:
        return self._thread.stopping.is_set()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._is_time():
                    self._change.wait(self._wait())
                urgent = list(self._urgent)
                self._urgent.clear()
                list_due, self._list_due = self._list_due, False
                events: list[BroadcastMessage] = []
                if self._events and time.monotonic() >= self._events_due:
                    events = list(self._events)
                    self._events.clear()
                if self._closing and not urgent and not events:
                    return
            for message in urgent:
                self._send_urgent(message)
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
            self._directory.refresh(LIST_BELIEVED_FOR_EVENTS, time.monotonic() + EVENT_TIMEOUT)
        except CloudflareError as error:
            logger.debug("cloudflare: the list of queues stays as it is: %s", error)

    def _send_urgent(self, message: BroadcastMessage) -> None:
        try:
            self.deliver(message)
        except MessageTooLarge as error:
            self._refuse(error)
        except CloudflareError as error:
            self.dropped += 1
            logger.warning("cloudflare: a message to exchange %r: %s", message.exchange, error)
        except Exception as error:  # one message must not hold up the others
            self.dropped += 1
            note_trouble(self._thread.name, error, f"a message to {message.exchange!r} is dropped")

    def _may_lack_binding(self, message: BroadcastMessage) -> bool:
        """Return whether to list the queues again for a reply; wait until that is allowed.

        The process that waits for the reply bound its queue before it asked, but the list may be
        older. A message to which no queue is bound must not use up the account's metered calls.
        """
        if self._directory.age <= time.monotonic() - message.at or self._client.rate_limiter.scarce:
            return False
        with self._change:
            pause = max(0.0, LIST_BELIEVED_FOR_REPLIES - self._directory.age)
            return not self._change.wait_for(lambda: self._closing, pause)

    def _send_events(self, events: list[BroadcastMessage]) -> None:
        """Publish events to every bound queue; keep them when the rate limiter refuses."""
        deadline = time.monotonic() + EVENT_TIMEOUT
        if self._hub is not None and self._hub.announce(events):
            # Processes that are not on the hub have binding queues.
            self._directory.refresh(float("inf"), deadline)
            events = [each for each in events if self._remote.targets(each)]
            if not events:
                self.renew_list(LIST_BELIEVED_BESIDE_HUB)
                return
        if self._client.rate_limiter.scarce:  # the calls that are left are for tasks
            self._postpone(events, SCARCE_PAUSE)
            return
        try:
            max_age = 0.0 if self._stale else LIST_BELIEVED_FOR_EVENTS
            if self._directory.age > max_age:
                self._event_limiter.take(time.monotonic())
                self._directory.refresh(max_age, deadline)
                self._stale = False
            gathered: dict[tuple[TemporaryBinding, str], list[str]] = defaultdict(list)
            for message in events:
                for target in self._remote.targets(message).items():
                    gathered[target].append(message.text)
            calls = [
                (target, part)
                for target, waiting in gathered.items()
                for part in in_calls(waiting, size)
            ]
            for _ in calls:
                self._event_limiter.take(time.monotonic())
        except Throttled as error:
            self._postpone(events, error.retry_after or EVENT_LINGER)
            return
        except CloudflareError as error:
            self._drop(len(events), error)
            return
        for (binding, queue_id), part in calls:
            try:
                texts = [text for text in map(self._fit, part) if text]
                self._remote.publish(binding, queue_id, texts, deadline)
            except CloudflareError as error:
                self._drop(len(part), error)

    def _postpone(self, events: list[BroadcastMessage], seconds: float) -> None:
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

    def _fit(self, text: str) -> str | None:
        """Return the text to publish for an event; none, with a warning, if it is too large.

        An object that the text refers to has one reader, which removes it.
        """
        try:
            return self._claim_checks.fit(text)
        except (MessageTooLarge, CloudflareError) as error:
            self._refuse(error)
            return None

    def _refuse(self, error: Exception) -> None:
        self.dropped += 1
        logger.warning("cloudflare: an event or reply is dropped: %s", error)
