"""How long events take from their publisher to many subscribers, each of a connection of its own.

`measure` publishes events with the time of their sending, by Celery's own dispatcher, while
processes that each hold some of the subscribers, Celery's own receivers, note when each came. They
are this module run as a program, so that no interpreter's lock is shared by all fifty.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from brokers import DEADLINE_S, HERE, Broker, child, wait_for
from measure import percentile
from transport_app import make_app

#: Processes that the subscribers are shared by.
PROCESSES = 5
#: Events a second.
RATE = 20
#: The event's type; one numbered -1 asks who is there.
KIND = "task-progress"


@dataclass(frozen=True)
class Events:
    """Milliseconds from just before an event is sent until a handler has it, over all deliveries.

    `wrong` counts what was lost, came twice or out of order.
    """

    subscribers: int
    events: int
    deliveries: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    wrong: int


def measure(broker: Broker, subscribers: int, events: int) -> Events:
    """Publish so many events to so many subscribers."""
    share = [len(range(first, subscribers, PROCESSES)) for first in range(PROCESSES)]
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(_listeners(broker, first, count, events))
            for first, count in enumerate(share)
        ]
        answers: list[list[Any]] = [[] for _ in listeners]
        readers = [
            threading.Thread(target=lambda a=answer, p=process: a.extend(map(json.loads, p.stdout)))
            for answer, process in zip(answers, listeners, strict=True)
        ]
        for reader in readers:
            reader.start()
        app = make_app(broker.url, broker.options)
        with app.connection_for_write() as connection, app.events.Dispatcher(connection) as send:

            def all_are_there() -> bool:
                send.send(KIND, n=-1, sent_at=time.time())
                time.sleep(0.2)
                return all(answers)

            wait_for(all_are_there, "all subscribers are there")
            time.sleep(1)  # so that no greeting is under way any more
            begun = time.monotonic()
            for number in range(events):
                time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
                send.send(KIND, n=number, sent_at=time.time())
            wait_for(lambda: all(len(answer) == 2 for answer in answers), "all events have come")
        app.close()
        for reader in readers:
            reader.join()
    heard: list[list[tuple[int, float]]] = [each for _, found in answers for each in found]
    took = sorted(ms for each in heard for _, ms in each)
    return Events(
        subscribers=subscribers,
        events=events,
        deliveries=len(took),
        p50_ms=percentile(took, 0.5),
        p99_ms=percentile(took, 0.99),
        worst_ms=round(took[-1], 1),
        wrong=sum(_wrong([number for number, _ in each], events) for each in heard),
    )


def _wrong(numbers: list[int], events: int) -> int:
    late = sum(after <= before for before, after in pairwise(numbers))
    return late + events - len(set(numbers))


def _listeners(broker: Broker, first: int, count: int, events: int) -> Any:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    told = [broker.url, broker.options, first, count, events]
    argv = [sys.executable, str(HERE / "subscribers.py"), json.dumps(told)]
    return child(*argv, env=env, stdout=subprocess.PIPE, text=True)


class Subscriber(threading.Thread):
    """One receiver of events, on a connection to the hub that it shares with nobody."""

    def __init__(self, broker: str, options: dict[str, Any], number: int, events: int) -> None:
        super().__init__(daemon=True)
        # Connections of the same options share one session, with its connection to the hub.
        ours = {"ack_linger": 0.2 + number / 1_000_000} if broker.startswith("cloudflare:") else {}
        self.app = make_app(broker, options | ours)
        self.heard: list[tuple[int, float]] = []
        self.greeted, self.over = threading.Event(), threading.Event()
        self._last = events - 1

    def run(self) -> None:
        """Listen for as long as the process lives."""
        with self.app.connection_for_read() as connection:
            self.app.events.Receiver(connection, handlers={KIND: self._hear}).capture(wakeup=False)

    def _hear(self, event: dict[str, Any]) -> None:
        took = (time.time() - event["sent_at"]) * 1000
        if event["n"] < 0:
            self.greeted.set()
            return
        self.heard.append((event["n"], took))
        if event["n"] == self._last:
            self.over.set()


def main() -> None:
    """Be some of the subscribers; print when they are there, and then what they heard."""
    broker, options, first, count, events = json.loads(sys.argv[1])
    numbers = range(first, first + count * PROCESSES, PROCESSES)
    subscribers = [Subscriber(broker, options, number, events) for number in numbers]
    for subscriber in subscribers:
        subscriber.start()
    for subscriber in subscribers:
        subscriber.greeted.wait(DEADLINE_S)
    print(json.dumps("there"), flush=True)
    for subscriber in subscribers:
        subscriber.over.wait(DEADLINE_S)
    time.sleep(1)  # for what comes twice
    print(json.dumps([subscriber.heard for subscriber in subscribers]), flush=True)


if __name__ == "__main__":
    main()
