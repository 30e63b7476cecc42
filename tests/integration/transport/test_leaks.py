"""Nothing is left after a close, and memory does not grow with the messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import psutil
import pytest

from cutmv.transports.cloudflare.fanout.temporary_queues import DELETE_TIMEOUT
from tests.support.emulator import EmulatorProcess
from tests.support.processes import slowness
from tests.support.transport import connect, make_site, transport_threads, wait_until

CYCLES = 50

#: Bytes that a process may grow by between 20,000 messages, when its caches and pools are full,
#: and 100,000. A leak of a lease or a message id alone (a dictionary's entry and a text of 100
#: bytes) would be 16 MB.
GROWTH = 6_000_000

#: Publishes and consumes 100,000 messages, as a server does that is both; shows its own size.
ROUNDS = """
import gc, json, os, psutil, kombu
import cutmv.transports.cloudflare
queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
sizes = []
with kombu.Connection("cloudflare://", transport_options={"rate_limit": 0}) as connection:
    producer, seen = connection.Producer(), 0
    def take(message):
        global seen
        seen += 1
        message.ack()
    with kombu.Consumer(connection, [queue], on_message=take, prefetch_count=500):
        for round in range(10):
            with producer.batch(max_size=1000):
                for number in range(10_000):
                    producer.publish(number, exchange="work", routing_key="work")
            while seen < 10_000 * (round + 1):
                connection.drain_events(timeout=20)
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss)
print(json.dumps(sizes))
"""


def _work(connection: kombu.Connection, queue: kombu.Queue) -> None:
    """Publish to a queue and take the message from there."""
    taken: list[kombu.Message] = []

    def take(message: kombu.Message) -> None:
        taken.append(message)
        message.ack()

    with kombu.Consumer(connection, [queue], on_message=take):
        connection.Producer().publish("x", exchange=queue.exchange, routing_key=queue.routing_key)
        while not taken:
            connection.drain_events(timeout=20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "queue",
    [
        pytest.param(kombu.Queue("work", kombu.Exchange("work"), routing_key="work"), id="a queue"),
        pytest.param(
            kombu.Queue("mine", kombu.Exchange("news", "fanout"), auto_delete=True),
            id="a binding queue",
        ),
    ],
)
@pytest.mark.parametrize("others", [0, 1])
def test_neither_threads_nor_sockets_are_left_over_many_connections(
    make_emulator: Callable[..., EmulatorProcess], queue: kombu.Queue, others: int
) -> None:
    """Whether the connection is the process's only one, or `others` stay open."""
    emulator = make_emulator(rate_limit=False)
    me = psutil.Process()
    options: dict[str, Any] = {"rate_limit": 0, "polling_interval_max": 0.1}

    def left() -> tuple[list[str], int, int]:
        names = sorted(thread.name for thread in threading.enumerate())
        return names, len(me.net_connections("all")), me.num_fds()

    nothing = left()
    open_ = [connect(emulator, **options) for _ in range(others)]
    for connection in open_:
        connection.connect()
    for cycle in range(CYCLES):
        with connect(emulator, **options) as connection:
            _work(connection, queue)
        if cycle == 0:
            first = left()
    # What the others share, a pool's sockets say, is there once.
    assert left()[0] == first[0]
    assert left()[1] <= first[1] + others
    assert left()[2] <= first[2] + others
    for connection in open_:
        connection.release()
    assert left() == nothing


@pytest.mark.slow
def test_threads_and_sockets_end_while_the_broker_is_away(emulator: EmulatorProcess) -> None:
    me = psutil.Process()
    before = len(me.net_connections("inet"))  # others go to what started the emulator
    for _ in range(3):
        with connect(emulator, close_timeout=0.5, request_timeout=1) as connection:
            _work(connection, kombu.Queue("work", kombu.Exchange("work"), routing_key="work"))
            emulator.kill()
        assert transport_threads() == []
        assert len(me.net_connections("inet")) == before
        emulator.start()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_flat_over_a_hundred_thousand_messages(
    make_emulator: Callable[..., EmulatorProcess],
) -> None:
    emulator = make_emulator(rate_limit=False)
    ran = subprocess.run(
        [sys.executable, "-c", ROUNDS],
        env={**os.environ, **emulator.env()},
        stdout=subprocess.PIPE,
        check=True,
        timeout=280 * slowness(),
    )
    sizes = json.loads(ran.stdout)
    print(f"RSS after each ten thousand, MB: {[round(size / 1e6, 1) for size in sizes]}")
    assert sizes[9] - sizes[1] < GROWTH


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_s_memory_is_flat_over_a_hundred_thousand_tasks(
    make_emulator: Callable[..., EmulatorProcess], tmp_path: Path
) -> None:
    emulator = make_emulator(rate_limit=False)
    with make_site(emulator, tmp_path) as site:
        options = {"rate_limit": 0}
        worker = site.worker(
            "-P", "solo", "-l", "WARNING", env={"TRANSPORT_PREFETCH": "500"}, **options
        )
        size = psutil.Process(worker.child.pid).memory_info
        sizes = []
        for count, total in ((20_000, 20_000), (80_000, 100_000)):
            site.send_batch("nothing", count, **options)
            wait_until(
                lambda total=total: emulator.stats()["acked"] == total,
                250 * slowness(),
                "all are acked",
            )
            sizes.append(size().rss)
    print(f"RSS after 20,000 and 100,000 tasks, MB: {[round(each / 1e6, 1) for each in sizes]}")
    assert sizes[1] - sizes[0] < GROWTH


def test_a_close_while_the_api_gives_no_answer_takes_no_longer_for_many_queues(
    emulator: EmulatorProcess,
) -> None:
    connection = connect(emulator)
    news = kombu.Exchange("news", type="fanout")
    queues = [kombu.Queue(f"mine-{n}", news, auto_delete=True) for n in range(5)]
    connection.Consumer(queues, callbacks=[print]).consume()
    emulator.faults({"route": "*", "kind": "hang"})
    began = time.monotonic()
    connection.close()
    assert time.monotonic() - began < 2 * DELETE_TIMEOUT + 1
