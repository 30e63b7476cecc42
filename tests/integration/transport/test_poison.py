"""No message, however made, ends a consumer or stays with it: those around it come through."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from cutmv.transports.cloudflare.messages.limits import in_calls, size
from tests.support import poison
from tests.support.emulator import EmulatorProcess
from tests.support.queues import client, queue_id
from tests.support.transport import CloudflareSite, connect, make_site, wait_until

#: Bad messages made by dice, and after how many bad ones a good one comes.
MUTATED, BAD_FOR_A_GOOD_ONE = 100, 5

#: What takes a mixture of good and bad messages, and what reads the queue next.
RECORD = "tests.support.transport_app.record"


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def put_poison(emulator: EmulatorProcess, seed: int) -> set[int]:
    """Put bad messages and good ones into the queue, as anybody may; return the good ones' values.

    They go by the API, in as few calls as they fit into.
    """
    dice = random.Random(seed)
    bad = [*poison.texts(), *(poison.mutated(dice) for _ in range(MUTATED))]
    mixed: list[str] = []
    good: set[int] = set()
    for number, text in enumerate(bad):
        mixed.append(text)
        if number % BAD_FOR_A_GOOD_ONE == 0:
            good.add(number)
            mixed.append(json.dumps(poison.task(RECORD, number)))
    api, to = client(emulator), queue_id(emulator, "work")
    for part in in_calls(mixed, size):
        api.publish(to, [(text, None) for text in part], time.monotonic() + 10)
    return good


def nothing_stays(emulator: EmulatorProcess) -> bool:
    """Whether each message is acked, dead, or on its way back with a delay."""
    return int(emulator.stats()["leases_outstanding"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "accept",
    [pytest.param(None, id="anything"), pytest.param(["json"], id="json")],
)
def test_a_plain_consumer_outlives_every_message(
    emulator: EmulatorProcess, accept: list[str] | None
) -> None:
    queue, taken = kombu.Queue("work"), set[int]()

    def take(body: Any, message: kombu.Message) -> None:
        with contextlib.suppress(TypeError, IndexError, KeyError):
            taken.add(body[0][0])
        message.ack()

    def drained() -> bool:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.1)
        return not emulator.stats()["messages"]["work"]

    with connect(emulator, visibility_timeout=3600) as connection:
        queue(connection.channel()).declare()
        good = put_poison(emulator, seed=1)
        with connection.Consumer([queue], callbacks=[take], accept=accept):
            wait_until(drained, 60, "each message is acked or dead")

    assert good <= taken
    stats = emulator.stats()
    assert stats["leases_outstanding"] == 0
    assert stats["messages"]["work-dead"] >= 25


@pytest.mark.slow
def test_a_single_get_outlives_every_message(emulator: EmulatorProcess) -> None:
    taken: set[int] = set()
    with (
        connect(emulator, visibility_timeout=3600) as connection,
        connection.SimpleQueue("work") as queue,
    ):
        good = put_poison(emulator, seed=2)
        with contextlib.suppress(queue.Empty):
            while True:
                message = queue.get(block=False)
                with contextlib.suppress(Exception):  # the reader's own business
                    taken.add(message.payload[0][0])
                message.ack()
    assert good <= taken
    assert nothing_stays(emulator)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pool",
    [
        "prefork",
        "threads",
        "solo",
        "gevent",
        "eventlet",
    ],
)
def test_a_worker_outlives_every_message(site: CloudflareSite, pool: str) -> None:
    worker = site.ready(site.worker("-P", pool, visibility_timeout=3600))
    good = put_poison(site.emulator, seed=3)

    wait_until(
        lambda: good <= {n["value"] for n in site.notes("record") if isinstance(n["value"], int)},
        60,
        "all the good ones ran",
    )
    wait_until(lambda: nothing_stays(site.emulator), 30, "the worker holds none of them")
    site.send("record", "after")
    wait_until(lambda: "after" in [n["value"] for n in site.notes("record")], what="it goes on")
    worker.term()

    assert worker.child.wait(20) == 0
    assert "Unrecoverable error" not in worker.log()
    assert site.backlog()["work-dead"] >= 15
