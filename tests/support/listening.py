"""A listener to Celery's events, as `celery events` and Flower are, in this process."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

#: Seconds between looks at who is alive, and between Flower's requests for events.
LOOK_S, ASK_S = 0.1, 5.0


class Listener:
    """What came: Celery's own state of it, each heartbeat, and when a worker counted as dead.

    Attributes:
        offline: The name of a worker, and when it was seen to be dead, each time.
    """

    def __init__(self, app: Celery) -> None:
        self.state: Any = app.events.State()
        self.beats: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.events: defaultdict[str, set[str]] = defaultdict(set)
        self.offline: list[tuple[str, float]] = []

    def hear(self, event: dict[str, Any]) -> None:
        """Take an event."""
        self.state.event(event)
        kind, _, what = event["type"].partition("-")
        if what == "heartbeat":
            self.beats[event["hostname"]].append(event)
        if kind == "task":
            self.events[event["uuid"]].add(what)

    def look(self) -> None:
        """Note who counts as dead, as Flower and gossip would."""
        for name, worker in list(self.state.workers.items()):
            if not worker.alive:
                self.offline.append((name, time.time()))

    def told(self, ids: Iterable[str]) -> dict[str, set[str]]:
        """Return what came of these tasks."""
        return {each: set(self.events[each]) for each in ids}


@contextmanager
def listening(app: Celery) -> Iterator[Listener]:
    """Listen until the end of the block, and ask for events every five seconds, as Flower does."""
    listener, over = Listener(app), threading.Event()
    receivers: list[Any] = []

    def listen() -> None:
        with app.connection_for_read() as connection:
            receivers.append(app.events.Receiver(connection, handlers={"*": listener.hear}))
            receivers[0].capture()

    def look() -> None:
        asked = 0.0
        while not over.wait(LOOK_S):
            listener.look()
            if time.monotonic() - asked > ASK_S:
                asked = time.monotonic()
                app.control.enable_events()

    threads = [threading.Thread(target=each) for each in (listen, look)]
    for thread in threads:
        thread.start()
    try:
        yield listener
    finally:
        over.set()
        for receiver in receivers:
            receiver.should_stop = True
        for thread in threads:
            thread.join(60)
