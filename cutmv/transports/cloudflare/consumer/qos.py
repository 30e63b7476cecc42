"""The prefetch limit of a channel, and the messages that it holds."""

from __future__ import annotations

import _thread
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kombu.transport import virtual

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.consumer.turns import Fetcher, Turns
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery
from cutmv.transports.cloudflare.troubles import note_trouble

#: Messages of one pull at most (Cloudflare's limit).
MAX_PULL = 100

#: Messages fetched but not yet given to a consumer that set no prefetch limit, at most.
UNLIMITED_AHEAD = 100

#: The part of the room, one in so many, that the pull of a queue takes which had no messages while
#: others have some.
IDLE_ROOM = 10

#: Seconds after which a poller that waits for room checks whether it has been stopped.
STOP_CHECK_INTERVAL = 1.0

#: Seconds after which a poller that waits for a free process or thread of the pool looks again:
#: nobody is told that a task which was acked early has ended.
SLOT_CHECK_INTERVAL = 0.05


class QoS(virtual.QoS):
    """The prefetch limit and the unsettled messages of one channel, kept by lease.

    kombu's own class returns unsettled messages by publishing them again; here the `acknowledger`
    ends each one's lease. Messages are held by weak reference: a message that its consumer has
    dropped can never be acked, so once consuming ends it goes back to the queue at once. So a
    worker's warm shutdown returns prefetched messages that it will not start, without waiting for
    the tasks that run.
    """

    def __init__(self, channel: Any, acknowledger: Acknowledger, linger: float) -> None:
        self.channel = channel
        self._acknowledger = acknowledger
        self._linger = linger
        self._limit = 0
        self._change = threading.Condition()
        self._held: dict[str, tuple[Delivery, weakref.ref[Any]]] = {}
        self._ending: set[str] = set()  # no longer held, but not yet handed to the acknowledger
        self._ahead = 0  # asked for or fetched, but not yet given to the consumer
        self._turns = Turns()
        self._full = False  # whether a poller waits for the first free place
        self._free_slots: Callable[[], int | None] = lambda: None
        self._patience = STOP_CHECK_INTERVAL
        self._fetchers: set[Fetcher] = set()
        self._dropped: deque[str] = deque()
        self._returning = False
        self._on_empty: deque[Callable[[], None]] = deque()

    # Called by kombu.

    @property
    def prefetch_count(self) -> int:
        """Messages the channel may hold unsettled; 0 for any number."""
        return self._limit

    @prefetch_count.setter
    def prefetch_count(self, count: int) -> None:
        with self._change:
            self._limit = count or 0
            self._change.notify_all()

    def can_consume(self) -> bool:
        """Return whether there is room for a message."""
        return self._room() > 0

    def can_consume_max_estimate(self) -> int:
        """Return how many messages there is room for."""
        return max(0, self._room())

    def ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Have the message removed; with `multiple`, all that were given before it, too."""
        tags = list(self._held) if multiple else []
        for tag in tags[: tags.index(delivery_tag)] if delivery_tag in tags else ():
            self.ack(tag)
        delivery = self._drop(delivery_tag)
        if delivery:
            self._acknowledger.ack(delivery)
            self._settled(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Have the message returned to the queue at once, or made a dead letter.

        Where its queue has no dead-letter queue, it is removed.
        """
        delivery = self._drop(delivery_tag)
        if delivery and requeue:
            self._acknowledger.requeue(delivery)
        elif delivery and delivery.on_rejected is not None:
            delivery.on_rejected(delivery)
        elif delivery:
            self._acknowledger.reject(delivery)
        if delivery:
            self._settled(delivery_tag)

    def restore_unacked(self) -> None:
        """Return every held message to its queue, except those of running tasks.

        A running task's lease outlives the connection: its ack is still accepted after the
        worker has reconnected.
        """
        running = celery_worker.running_tags()
        for tag in list(self._held):
            if tag not in running:
                self.reject(tag, requeue=True)

    def restore_unacked_once(self, stderr: Any = None) -> None:  # noqa: ARG002
        """Return held messages to their queues when the channel closes."""
        self.return_dropped()
        self.restore_unacked()

    # Called by the channel and its consumers.

    def hold(self, message: Any, delivery: Delivery, *, fetched: bool = False) -> None:
        """Count `message`, which is about to be given to the consumer, as unsettled.

        A message that a poller or a push consumer `fetched` takes the place reserved for it.
        """
        tag, delivery.given = message.delivery_tag, True
        message.delivery = delivery
        # The callback may run in any thread: it must neither keep the channel alive nor take a
        # lock.
        self._held[tag] = (delivery, weakref.ref(message, _Dropped(weakref.ref(self), tag)))
        if fetched:
            with self._change:
                self._ahead -= 1
                if not self._limit:
                    self._freed()

    def consume(self) -> None:
        """Note that consuming begins, or begins again."""
        self._returning = False

    def return_dropped(self) -> None:
        """Return dropped messages, now and from now on, since consuming has ended."""
        self._returning = True
        while self._dropped:
            self.on_dropped(self._dropped.popleft())

    def on_dropped(self, tag: str) -> None:
        """Note that the consumer has dropped a message, and can't ack it any more."""
        if not self._returning:
            self._dropped.append(tag)
        elif (held := self._held.pop(tag, None)) is not None:
            self._acknowledger.requeue(held[0])
            if self._on_empty and not self._held:
                # `_emptied` may close the session, which takes locks. (So would starting a thread
                # of `threading`.)
                _thread.start_new_thread(self._emptied, ())

    def outlive(self, on_empty: Callable[[], None]) -> bool:
        """Have `on_empty` called when the last message is settled; return whether any is held."""
        self._on_empty.append(on_empty)
        if self._held or self._ending:
            return True
        try:
            self._on_empty.remove(on_empty)
        except ValueError:
            return True  # another thread settled the last message a moment ago, and calls it
        return False

    def lose(self, delivery_tag: str) -> bool:
        """Forget a message that another consumer has, or its consumer failed with.

        Return whether it was held.
        """
        lost = self._drop(delivery_tag) is not None
        self._settled(delivery_tag)
        return lost

    def is_done(self, delivery: Delivery) -> bool:
        """Return whether the message is done in this process, and only has to be removed."""
        return self._acknowledger.is_done(delivery)

    def let_go(self, delivery_tag: str) -> None:
        """Leave a message to others, whose task must not start here."""
        delivery = self._drop(delivery_tag)
        if delivery is not None:
            self._acknowledger.let_go(delivery)
            self._settled(delivery_tag)

    # Called by pollers and push consumers.

    def limit_to_slots(self, free_slots: Callable[[], int | None]) -> None:
        """Have no more messages fetched than the worker can start at once.

        `free_slots` returns how many tasks it could start, or none where nobody knows. Messages
        that are pushed must not wait in the prefetch, since their sender waits for their outcome.
        """
        self._free_slots, self._patience = free_slots, SLOT_CHECK_INTERVAL

    def join(self, fetcher: Fetcher) -> None:
        """Add `fetcher` to the pollers that share the room."""
        with self._change:
            self._fetchers.add(fetcher)

    def leave(self, fetcher: Fetcher) -> None:
        """Remove `fetcher` from the pollers that share the room."""
        with self._change:
            self._fetchers.discard(fetcher)
            self._change.notify_all()

    def reserve(self, fetcher: Fetcher, most: int = MAX_PULL, linger: float | None = None) -> int:
        """Wait for room and return how many messages to pull, 1 to `most`; 0 when stopped.

        The pollers go in turn, those first whose queues have messages (see `Turns`), and each takes
        no more than its share among these queues. While there is little room, it waits up to
        `linger` seconds (none: `pull_linger`) for more, so that one call fetches what many would.
        """
        linger = self._linger if linger is None else linger
        with self._change:
            self._turns.wait(fetcher)
            try:
                roomy_since: float | None = None
                while not fetcher.stopped:
                    room = self._room() if self._turns.is_next(fetcher) else 0
                    if room <= 0:
                        roomy_since = None
                        self._full = True
                        self._change.wait(self._patience)
                        continue
                    now = time.monotonic()
                    roomy_since = roomy_since or now
                    wait = roomy_since + linger - now
                    if room >= self._worthwhile() or wait <= 0:
                        count = min(most, self._share(fetcher, room))
                        self._ahead += count
                        self._turns.start(fetcher)
                        return count
                    self._change.wait(wait)
                return 0
            finally:
                self._turns.leave(fetcher)
                if self._turns:
                    self._change.notify_all()

    def pulled(self, fetcher: Fetcher) -> None:
        """Note that the pull has ended for which a poller reserved room."""
        with self._change:
            self._turns.end(fetcher)

    def unreserve(self, count: int) -> None:
        """Free the room of messages that did not come, or that the consumer will not be given."""
        if count:
            with self._change:
                self._ahead -= count
                if self._turns:
                    self._change.notify_all()

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return messages to their queue that were fetched, and that no consumer will be given."""
        self.unreserve(len(deliveries))
        for delivery in deliveries:
            self._acknowledger.requeue(delivery)

    def remove(self, delivery: Delivery) -> None:
        """Have a fetched message removed: its TTL is over, or its queue was purged."""
        self.unreserve(1)
        self._acknowledger.ack(delivery)

    def wake(self) -> None:
        """Have the pollers that wait check whether they have been stopped."""
        with self._change:
            self._change.notify_all()

    def _room(self) -> int:
        room = (self._limit - len(self._held) if self._limit else UNLIMITED_AHEAD) - self._ahead
        free = self._free_slots()
        return room if free is None else min(room, free - self._ahead)

    def _share(self, fetcher: Fetcher, room: int) -> int:
        """Return how much of the room a poller takes: little if its queue had no messages."""
        rivals = sum(each.busy for each in self._fetchers if each is not fetcher)
        if rivals and not fetcher.busy:
            return max(1, room // IDLE_ROOM)
        return -(-room // (1 + rivals))

    def _worthwhile(self) -> int:
        """Return the room for which a pull is made without waiting for more."""
        return min(MAX_PULL, max(1, (self._limit or UNLIMITED_AHEAD) // 2))

    def _drop(self, delivery_tag: str) -> Delivery | None:
        self._ending.add(delivery_tag)
        held = self._held.pop(delivery_tag, None)
        if held is None:
            self._ending.discard(delivery_tag)
            return None
        if self._turns:
            with self._change:
                self._freed()
        return held[0]

    def _settled(self, tag: str) -> None:
        """Call `on_empty` if no message is left, now that the end of one has been handed over."""
        self._ending.discard(tag)
        if self._on_empty and not self._held and not self._ending:
            self._emptied()

    def _emptied(self) -> None:
        """Call `on_empty`, once, though several threads may settle the last messages at once."""
        try:
            on_empty = self._on_empty.pop()
        except IndexError:
            return
        try:
            on_empty()
        except Exception as error:  # whoever acked the last message can't mend it
            note_trouble("the close of a session", error, "its threads may run on")

    def _freed(self) -> None:
        """Wake the pollers that wait for room, if there is enough of it.

        Waking a thread for each place would cost more than the messages: the first free place
        starts the wait for more, and a worthwhile number ends it.
        """
        if self._turns and (self._full or self._room() >= self._worthwhile()):
            self._full = False
            self._change.notify_all()


class _Dropped:
    """A weak reference's callback that tells a `QoS`, if it still exists, of a dropped message."""

    __slots__ = ("_qos", "_tag")

    def __init__(self, qos: weakref.ref[QoS], tag: str) -> None:
        self._qos = qos
        self._tag = tag

    def __call__(self, _message: weakref.ref[Any]) -> None:
        qos = self._qos()
        if qos is not None:
            qos.on_dropped(self._tag)
