"""The broadcaster: publishes to other processes' temporary queues from a thread of its own.

So no task waits for these messages. Messages of remote control (fanout and direct exchanges) are
sent at once, and retried until `publish_timeout`. Topic messages (Celery's events) are gathered
into few calls (`events`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import replace
from itertools import islice
from typing import Any

from cutmv.transports.cloudflare.edge import HubClient, fits
from cutmv.transports.cloudflare.errors import CloudflareError, MessageTooLarge
from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.commands import Commands
from cutmv.transports.cloudflare.fanout.events import EventSender
from cutmv.transports.cloudflare.fanout.pace import CONTROL_SUFFIX, Pace
from cutmv.transports.cloudflare.fanout.remote_queues import RemoteQueues
from cutmv.transports.cloudflare.fanout.temporary_queues import TemporaryQueues
from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import TemporaryBinding
from cutmv.transports.cloudflare.runtime import BackgroundThread

logger = logging.getLogger(__name__)

#: Seconds for which a list of queues is believed by who sends a command.
LIST_BELIEVED = 2.0

#: The same where a reply's temporary queue is not on the list.
LIST_BELIEVED_FOR_REPLIES = 0.3

#: Seconds that a new list of queues may take.
LIST_TIMEOUT = 2.0

#: Commands and replies kept while Cloudflare does not answer; the oldest make room.
MAX_WAITING = 10_000


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
        self._commands = Commands()
        options = services.options
        self._pace = Pace(services.client.rate_limiter, services.directory, own, options)
        self._events = EventSender(services, self._remote, hub, self._pace)
        self._silent = not options.fanout or not options.event_rate_share
        own.on_introduced = self._remote.introduce
        self._dropped = 0
        self._change = threading.Condition()
        self._urgent: deque[BroadcastMessage] = deque()
        self._list_due = False
        self._renewed_at = 0.0
        self._thread = BackgroundThread(
            "broadcaster", self._run, self._notify, on_hopeless=services.on_hopeless
        )

    @property
    def dropped(self) -> int:
        """Messages that were dropped because there was no room, or that were not accepted."""
        return self._dropped + self._events.dropped

    def stats(self) -> dict[str, Any]:
        """Return figures on events for `celery inspect stats`."""
        limiter = self._client.rate_limiter
        calls = {"used": limiter.used, "limit": limiter.limit, "window": limiter.window}
        return {**self._events.stats(), "commands_dropped": self._dropped, "calls": calls}

    def wants(self, exchange: str, exchange_type: str) -> bool:
        """Return whether another process may have a queue bound to an exchange. Makes no call."""
        if not self._options.fanout or (exchange_type == "topic" and self._silent):
            return False
        if exchange_type == "fanout" or self._hub is not None or self._remote.bound(exchange):
            return True
        return exchange_type == "topic" and self._directory.age > self._pace.list_interval

    def has_control_queues(self, exchange: str) -> bool:
        """Return whether an exchange is that of commands, and workers are known by their queues."""
        return exchange.endswith(CONTROL_SUFFIX) and bool(self._remote.bound(exchange))

    def send(self, message: BroadcastMessage) -> None:
        """Hand a message to the thread, which publishes it soon; returns at once."""
        with self._change:
            if message.type == "topic":
                self._events.add(message)
            else:
                if len(self._urgent) >= MAX_WAITING:
                    self._urgent.popleft()
                    self._dropped += 1
                self._urgent.append(message)
        self._wake()

    def deliver(self, message: BroadcastMessage) -> bool:
        """Publish a message before this returns; return whether any queue was bound to it.

        It goes to the queues that are bound when it is sent. Raises a `CloudflareError` where one
        of them did not get it within `publish_timeout`.
        """
        deadline = time.monotonic() + self._options.publish_timeout
        routed = self.publish_by_hub(message)
        interval = self._pace.list_interval
        believed = float("inf")
        if message.type == "fanout" and routed is None:
            believed = interval if self._commands.says_again(message) else LIST_BELIEVED
        self._directory.refresh(believed, deadline)
        targets = self._remote.targets(message)
        if routed and not targets:
            return True
        if not targets and message.type in ("direct", "") and self._may_lack_binding(message):
            self._directory.refresh(LIST_BELIEVED_FOR_REPLIES, deadline)
            targets = self._remote.targets(message)
        chosen = self._commands.recipients(message, targets, interval)
        if targets and (self._publish(message, chosen, deadline) or not chosen):
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

    def _publish(
        self, message: BroadcastMessage, targets: dict[TemporaryBinding, str], deadline: float
    ) -> bool:
        """Publish a message to binding queues: to all, or to none where the calls run out.

        Returns whether any of them is still there.
        """
        failure, delivered = None, False
        limiter = self._client.rate_limiter
        while targets:
            some = dict(islice(targets.items(), limiter.at_once))
            targets = {each: id_ for each, id_ in targets.items() if each not in some}
            limiter.take(deadline, len(some))
            for binding, queue_id in some.items():
                try:
                    text = self._claim_checks.fit(message.text)
                    delivered |= self._remote.publish(
                        binding, queue_id, [text], deadline, paid=True
                    )
                    self._commands.said(message, queue_id)
                except CloudflareError as error:
                    failure = failure or error
        if failure is not None:
            raise failure
        return delivered

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
        message = BroadcastMessage(exchange, exchange_type, routing_key, "")
        return self._has_hub or bool(self._remote.targets(message))

    def holds(self, queue: str) -> bool:
        """Return whether another process has a temporary queue of this name, by its bindings."""
        return bool(self._remote.targets(BroadcastMessage("", "direct", queue, "")))

    def renew_list(self) -> None:
        """Have the thread list the queues again if the list is old, to find new bindings."""
        max_age = self._pace.list_interval
        now = time.monotonic()
        if self._directory.age < max_age or now - self._renewed_at < max_age:
            return
        with self._change:
            self._renewed_at, self._list_due = now, True
        self._wake()

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
            self._change.notify_all()

    @property
    def _closing(self) -> bool:
        return self._thread.stopping.is_set()

    def _run(self) -> None:
        while not self._closing:
            with self._change:
                while not self._is_time():
                    due = self._events.due
                    left = max(0.0, due - time.monotonic())
                    self._change.wait(left if due < float("inf") else None)
                list_due, self._list_due = self._list_due, False
            self._send_all_urgent()
            if self._events.due <= time.monotonic():
                self._events.run()
            if list_due:
                self._refresh()
        self._send_all_urgent()
        self._events.run(closing=True)

    def _is_time(self) -> bool:
        events_due = self._events.due <= time.monotonic()
        return bool(self._urgent) or events_due or self._list_due or self._closing

    def _refresh(self) -> None:
        try:
            self._directory.refresh(self._pace.list_interval, time.monotonic() + LIST_TIMEOUT)
        except CloudflareError as error:
            logger.debug("cloudflare: the list of queues stays as it is: %s", error)

    def _send_all_urgent(self) -> None:
        while self._urgent:
            self._send_urgent(self._urgent.popleft())

    def _send_urgent(self, message: BroadcastMessage) -> None:
        try:
            self.deliver(message)
        except MessageTooLarge as error:
            self._dropped += 1
            logger.warning("cloudflare: a reply is dropped: %s", error)
        except CloudflareError as error:
            self._dropped += 1
            logger.warning("cloudflare: a message to exchange %r: %s", message.exchange, error)
        except Exception as error:  # one message must not hold up the others
            self._dropped += 1
            self._thread.note(error, f"a message to {message.exchange!r} is dropped")

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
