"""Pushed messages, and the line of those that wait for room."""

from __future__ import annotations

import bisect
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from cutmv.transports.cloudflare.edge import DeliveryCallback, Outcome
from cutmv.transports.cloudflare.leases import Delivery
from cutmv.transports.cloudflare.runtime import clock

#: Messages that wait at most, and the bytes of their bodies.
MAX_WAITING, MAX_WAITING_BYTES = 2_000, 64_000_000

#: Keys of recently acked messages that are kept: when the outcome got lost, a copy is not run.
MAX_DONE_KEYS = 10_000

#: Seconds until a message that found no room comes again, at least and at most. The Worker can't
#: be told that there is room, so the longest is what a worker may idle for in vain.
BUSY_MIN, BUSY_MAX = 1.0, 60.0

#: Seconds between two messages that leave the line, until this is known.
FIRST_PACE = 2.0

#: How much the last message counts in the mean.
PACE_WEIGHT = 0.2


ACK = Outcome("ack")


class Pushed:
    """A message that waits or runs here, and the delivery callbacks that wait for its outcome.

    Attributes:
        key: What tells the message from all others.
        queue_name: The queue of the account that it comes from.
        entry: The message, as an entry of a pull's response.
        rank: Its place in the line: the most urgent queue first, and of a queue the oldest message.
        until: When it must have started, by `runtime.clock`: a task that starts later may not end
            in the Worker's time.
        line: The line in which it waits; none once there was room.
        delivery: Its delivery, once the intake has admitted it.
    """

    def __init__(
        self,
        key: str,
        *,
        queue_name: str,
        entry: dict[str, Any],
        rank: tuple[int, int],
        until: float,
        on_ended: Callable[[Pushed, bool], None],
    ) -> None:
        self.key, self.queue_name, self.entry = key, queue_name, entry
        self.rank, self.until = rank, until
        self.line: WaitingLine | None = None
        self.delivery: Delivery | None = None
        self.callbacks: deque[DeliveryCallback] = deque()
        self._on_ended = on_ended
        self._outcome: Outcome | None = None

    def join(self, callback: DeliveryCallback) -> None:
        """Have `callback` called with the message's outcome, at once if it has ended."""
        self.callbacks.append(callback)
        if self._outcome is not None:
            self._tell_all()

    def end(self, delivery: Delivery, delay: float | None) -> None:
        """Tell the callbacks that the message is acked (no `delay`) or is delivered again.

        Takes no lock, since a weak reference's callback may end the message.
        """
        self._outcome = ACK if delay is None else Outcome("retry", math.ceil(delay))
        self._on_ended(self, delay is None and not delivery.copied)
        self._tell_all()

    def _tell_all(self) -> None:
        while self._outcome is not None:
            try:
                callback = self.callbacks.popleft()
            except IndexError:
                return
            callback(self._outcome)


class PushedMessages:
    """The pushed messages of a process that wait or run, and those that are done.

    They outlive a consumer: a task goes on while its worker connects again, and a copy of its
    message then finds it here.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_key: dict[str, Pushed] = {}
        self.done: dict[str, None] = {}  # keys, the oldest first

    def forget(self, pushed: Pushed, done: bool) -> None:
        """Note that a message has ended; takes no lock."""
        if done:
            self.done[pushed.key] = None
        self.by_key.pop(pushed.key, None)

    def forget_old(self) -> None:
        """Forget the oldest of those that are done; `lock` is held."""
        for key in list(self.done)[: max(0, len(self.done) - MAX_DONE_KEYS)]:
            del self.done[key]


class WaitingLine:
    """Messages that wait for room, the most urgent and oldest first. Its owner's lock guards it.

    A message's place is by the time at which it was published, so that one which comes again has
    its old place.
    """

    def __init__(self) -> None:
        self._waiting: list[Pushed] = []
        self._size = 0
        self._pace, self._left_at = FIRST_PACE, 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, pushed: Pushed) -> bool:
        """Add a message; return false where the line is full."""
        size = self._size + len(pushed.entry["body"])
        if len(self) >= MAX_WAITING or size > MAX_WAITING_BYTES:
            return False
        if not self._waiting:
            self._left_at = clock()
        bisect.insort(self._waiting, pushed, key=lambda each: each.rank)
        self._size, pushed.line = size, self
        return True

    def remove(self, pushed: Pushed) -> None:
        """Remove a message that is in the line."""
        self._waiting.remove(pushed)
        self._left([pushed])

    def leave(self, count: int) -> list[Pushed]:
        """Remove and return the first `count` messages, for which there is room."""
        leaving, self._waiting = self._waiting[:count], self._waiting[count:]
        self._left(leaving)
        if leaving:
            now = clock()
            pace = (now - self._left_at) / len(leaving)
            self._pace += (pace - self._pace) * PACE_WEIGHT
            self._left_at = now
        return leaving

    def delay(self, pushed: Pushed) -> int:
        """Return the seconds after which there may be room for a message that can't wait here.

        It is half of what the pace of the line promises: to ask once more costs little, and a
        worker must not idle while its next message is put off.
        """
        ahead = bisect.bisect_left(self._waiting, pushed.rank, key=lambda each: each.rank)
        return round(min(BUSY_MAX, max(BUSY_MIN, (ahead + 1) * self._pace / 2)))

    def _left(self, gone: list[Pushed]) -> None:
        for pushed in gone:
            pushed.line = None
            self._size -= len(pushed.entry["body"])
