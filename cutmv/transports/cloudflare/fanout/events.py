"""Events on their way to the temporary queues of other processes.

Only the broadcaster's thread sends them. By the hub they go at once. Where there is none, each
subscriber (a binding queue) has an outbox, which keeps its events in order until a call has taken
them, packed together (`bundle`). The calls of all subscribers are taken from the rate
limiter together or not at all, and follow each other at a pace that all workers can afford
(`pace`).

Of a worker's heartbeats only the newest is kept. It goes with other events, or by itself when the
last one is so old as its ``freq`` said (`heartbeats`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cutmv.transports.cloudflare.edge import HubClient
from cutmv.transports.cloudflare.errors import CloudflareError, MessageTooLarge
from cutmv.transports.cloudflare.fanout import bundle, heartbeats
from cutmv.transports.cloudflare.fanout.binding_poller import FanoutServices
from cutmv.transports.cloudflare.fanout.pace import Pace
from cutmv.transports.cloudflare.fanout.remote_queues import RemoteQueues
from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import TemporaryBinding

logger = logging.getLogger(__name__)

#: Seconds that events wait for others to share a call, and between calls to a subscriber at least.
LINGER, INTERVAL_MIN = 0.25, 2.0

#: The same where the hub carries them, which needs no metered calls.
HUB_LINGER = 0.002

#: Events kept for a subscriber; the oldest make room.
MAX_WAITING = 10_000

#: Seconds the calls for events may take: remote control waits until they end.
TIMEOUT = 2.0

#: Seconds between tries to list the queues.
LIST_RETRY_AFTER = 10.0

#: Seconds for which a list of queues is believed where the hub carries events: only few bindings
#: are not on the hub.
LIST_BELIEVED_BESIDE_HUB = 300.0

#: Seconds that a heartbeat may be late: it waits for a call, and then until it is pulled.
LATE_BY = 1.0

#: How much rarer than was last logged heartbeats have to become to be logged again.
LOG_FACTOR = 1.5


@dataclass(slots=True)
class _Outbox:
    """The events that wait for one subscriber, and which heartbeats it had: when, and of when."""

    waiting: deque[str] = field(default_factory=deque)
    heard: dict[str, tuple[float, float]] = field(default_factory=dict)


class EventSender:
    """Sends events. Any thread may `add`; the rest is for the broadcaster's thread alone."""

    def __init__(
        self, services: FanoutServices, remote: RemoteQueues, hub: HubClient | None, pace: Pace
    ) -> None:
        self._limiter, self._directory = services.client.rate_limiter, services.directory
        self._claim_checks = services.claim_checks
        self._remote, self._hub, self._pace = remote, hub, pace
        self._added: deque[BroadcastMessage] = deque()
        self._spread_at = 0.0
        self._outboxes: dict[TemporaryBinding, _Outbox] = {}
        self._beats: dict[str, BroadcastMessage] = {}  # the newest of each worker
        self._ready_at = 0.0  # when the next calls may go
        self._paced_until = 0.0  # when the pace allows the next call
        self._listed_at = 0.0  # when a new list was last tried
        self._logged_interval = heartbeats.USUAL_INTERVAL
        self.sent = 0
        #: Events for a subscriber that found no room, or were not accepted.
        self.dropped = 0

    def add(self, event: BroadcastMessage) -> None:
        """Take an event; returns at once."""
        if not self._added:
            has_hub = self._hub is not None and self._hub.connected
            self._spread_at = time.monotonic() + (HUB_LINGER if has_hub else 0.0)
        if len(self._added) >= MAX_WAITING:
            self._added.popleft()
            self.dropped += 1
        self._added.append(event)

    @property
    def due(self) -> float:
        """When there is something to do next, by `time.monotonic`; infinite for never."""
        if self._added:
            return self._spread_at
        if any(box.waiting for box in self._outboxes.values()):
            return self._ready_at
        beats = [at for box in self._outboxes.values() for at, _ in self._pending(box)]
        return max(min(beats), self._ready_at) if beats else float("inf")

    def run(self, closing: bool = False) -> None:
        """Do what is due; with `closing`, send all that waits, and drop what is not accepted."""
        deadline = time.monotonic() + TIMEOUT
        if self._added:
            self._spread(deadline)
        if closing:
            while self._send(deadline, closing=True):
                pass
            self.dropped += sum(len(box.waiting) for box in self._outboxes.values())
            self._outboxes.clear()
        elif self.due <= time.monotonic():
            self._send(deadline)

    @property
    def interval(self) -> float:
        """Seconds between heartbeats to the present subscribers; 0 for as the worker makes them."""
        return self._pace.heartbeat_interval(len(self._outboxes))

    def stats(self) -> dict[str, Any]:
        """Return figures for `celery inspect stats`."""
        boxes = list(self._outboxes.values())
        return {
            "subscribers": len(boxes),
            "workers": self._pace.workers,
            "heartbeat_interval": round(max(self.interval, heartbeats.USUAL_INTERVAL), 1),
            "sent": self.sent,
            "dropped": self.dropped,
            "waiting": sum(len(box.waiting) for box in boxes),
        }

    # From the events to the outboxes.

    def _spread(self, deadline: float) -> None:
        """Give the events that were added to the hub, and to the outboxes of their subscribers."""
        events = [self._added.popleft() for _ in range(len(self._added))]
        by_hub = self._hub is not None and self._hub.announce(events)
        self._renew_list(LIST_BELIEVED_BESIDE_HUB if by_hub else self._pace.list_interval, deadline)
        for event in events:
            self._put(event)

    def _renew_list(self, max_age: float, deadline: float) -> None:
        now = time.monotonic()
        if self._directory.age <= max_age or now - self._listed_at < LIST_RETRY_AFTER:
            return
        self._listed_at = now
        try:
            self._directory.refresh(max_age, deadline)
        except CloudflareError as error:
            logger.debug("cloudflare: the list of queues stays as it is: %s", error)

    def _put(self, event: BroadcastMessage) -> None:
        boxes = [self._outboxes.setdefault(each, _Outbox()) for each in self._remote.targets(event)]
        text, worker = event.text, heartbeats.hostname(event) if boxes else None
        if worker is not None:
            if event.routing_key == heartbeats.HEARTBEAT:
                self._beats[worker] = event
                return
            if event.routing_key == heartbeats.OFFLINE:
                self._beats.pop(worker, None)
            text = heartbeats.with_interval(text, self.interval + LATE_BY)
        for box in boxes:
            if not any(each.waiting for each in self._outboxes.values()):
                self._ready_at = max(time.monotonic() + LINGER, self._ready_at)
            box.waiting.append(text)
            if len(box.waiting) > MAX_WAITING:
                box.waiting.popleft()
                self.dropped += 1

    # From the outboxes to the subscribers.

    def _pending(self, box: _Outbox) -> Iterator[tuple[float, str]]:
        """Yield the heartbeats that a subscriber has not had: when each is due, and whose it is."""
        for worker, beat in self._beats.items():
            due, had = box.heard.get(worker, (0.0, 0.0))
            if beat.at > had:
                yield due, worker

    def _send(self, deadline: float, *, closing: bool = False) -> bool:
        """Send a call to each subscriber for whom something is due; return whether any was sent."""
        now = time.monotonic()
        known, interval = self._known(), self.interval
        calls = []
        for target, queue_id in known:
            box = self._outboxes[target]
            due = [name for at, name in self._pending(box) if box.waiting or at <= now]
            beats = {} if closing else {name: self._beats[name] for name in due}
            if box.waiting or beats:
                calls.append((target, queue_id, beats))
        # Where there are more than may ever be taken together, those who waited longest go first.
        calls = calls[: self._limiter.at_once]
        if not calls:
            return False
        wait = self._limiter.try_take(len(calls))
        if wait:
            self._ready_at = now + wait
            return False
        failed = False
        for target, queue_id, beats in calls:
            failed |= not self._deliver(target, queue_id, beats, interval, deadline)
            self._outboxes[target] = self._outboxes.pop(target, _Outbox())  # to the end
        now = time.monotonic()
        self._paced_until = max(self._paced_until, now - self._pace.saved)
        self._paced_until += len(calls) * self._pace.spacing
        self._ready_at = max(self._paced_until, now + INTERVAL_MIN)
        self._tell(interval)
        return not failed

    def _known(self) -> list[tuple[TemporaryBinding, str]]:
        """Return the subscribers with an outbox; drop the outboxes of those that are gone."""
        known = []
        for target in list(self._outboxes):
            queue_id = self._remote.queue_id(target)
            if queue_id is None:
                del self._outboxes[target]
            else:
                known.append((target, queue_id))
        return known

    def _deliver(
        self,
        target: TemporaryBinding,
        queue_id: str,
        beats: dict[str, BroadcastMessage],
        interval: float,
        deadline: float,
    ) -> bool:
        """Make one call, which is paid for; return whether it succeeded.

        Events that were not accepted stay in the outbox if it helps to send them again. Their
        reader recognises a second copy.
        """
        box = self._outboxes[target]
        told = [heartbeats.with_interval(b.text, interval + LATE_BY) for b in beats.values()]
        text, count = bundle.pack([*told, *islice(box.waiting, bundle.MAX_MESSAGES)])
        try:
            text = self._claim_checks.fit(text)
            self._remote.publish(target, queue_id, [text], deadline, paid=True)
        except MessageTooLarge as error:
            self.dropped += 1
            logger.warning("cloudflare: an event is dropped: %s", error)
        except CloudflareError as error:
            logger.debug("cloudflare: %d event(s) were not accepted: %s", count, error)
            if error.passing:
                return False
            self.dropped += count
        else:
            self.sent += count
        for _ in range(count - len(told)):
            box.waiting.popleft()
        due = time.monotonic() + interval
        box.heard.update({name: (due, beat.at) for name, beat in beats.items()})
        return True

    def _tell(self, interval: float) -> None:
        """Log that heartbeats have become rarer."""
        if interval > self._logged_interval * LOG_FACTOR:
            self._logged_interval = interval
            logger.info(
                "cloudflare: this worker's heartbeats go out every %.0f s, and say so: each costs "
                "a call for each of %d subscriber(s), and %d worker(s) share the account's calls",
                interval,
                len(self._outboxes),
                self._pace.workers,
            )
