"""Priorities by levels: queues that are pulled in order; opt-in by `priority_steps`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery
from kombu.exceptions import ChannelError

from tests.support.emulator import EmulatorProcess
from tests.support.transport import CloudflareSite, connect, make_site, wait_until

QUEUE = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
STEPS = [0, 3, 6, 9]
LEVELS = {"work", "q---p3-work", "q---p6-work", "q---p9-work"}


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def _publish(connection: kombu.Connection, *priorities: int | None) -> None:
    for priority in priorities:
        connection.Producer().publish(
            {"priority": priority},
            exchange="work",
            routing_key="work",
            declare=[QUEUE],
            **({} if priority is None else {"priority": priority}),
        )


def _held(emulator: EmulatorProcess) -> dict[str, int]:
    held = emulator.stats()["messages"]
    return {queue: count for queue, count in held.items() if count}


def _drain(connection: kombu.Connection, count: int, prefetch: int) -> list[Any]:
    order: list[Any] = []

    def take(body: Any, message: kombu.Message) -> None:
        order.append(body["priority"])
        message.ack()

    with connection.channel() as channel:
        channel.basic_qos(0, prefetch, False)
        with kombu.Consumer(channel, [QUEUE], callbacks=[take]):
            while len(order) < count:
                connection.drain_events(timeout=20)
    return order


def test_each_level_is_a_queue_of_its_own(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        _publish(connection, 0, 2, 3, 5, 6, 8, 9, 200, None)

    assert _held(emulator) == {"work": 3, "q---p3-work": 2, "q---p6-work": 2, "q---p9-work": 2}


def test_without_the_option_priorities_are_ignored(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, 0, 5, 9)

    assert _held(emulator) == {"work": 3}


def test_the_most_urgent_come_first_and_a_single_pull_reaches_into_the_next_level(
    emulator: EmulatorProcess,
) -> None:
    given = [9, 6, 3, 0] * 10
    with connect(emulator, priority_steps=STEPS) as connection:
        _publish(connection, *given)
        order = _drain(connection, 40, prefetch=15)

    assert order == sorted(given)
    assert _held(emulator) == {}


def test_what_becomes_urgent_meanwhile_overtakes_what_waits(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        _publish(connection, *[9] * 6)
        order = _drain(connection, 1, prefetch=1)
        _publish(connection, 0)
        order += _drain(connection, 6, prefetch=1)

    assert order == [9, 0, 9, 9, 9, 9, 9]


def test_size_purge_and_delete_cover_all_levels(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        channel = connection.channel()
        _publish(connection, 0, 3, 6, 6)
        assert channel.queue_declare("work", passive=True).message_count == 4
        assert channel.queue_purge("work") == 4
        assert channel.queue_declare("work", passive=True).message_count == 0
        assert emulator.stats()["messages"].keys() >= LEVELS
        channel.queue_delete("work")
        assert not emulator.stats()["messages"].keys() & LEVELS
        with pytest.raises(ChannelError, match="no queue 'work'"):
            channel.queue_purge("work")


def test_single_messages_are_got_in_order(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        _publish(connection, 9, 3, 0)
        channel = connection.channel()
        got = []
        while (message := channel.basic_get("work")) is not None:
            got.append(message.payload["priority"])
            message.ack()

    assert got == [0, 3, 9]


def test_a_batch_fills_calls_for_each_level(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        producer = connection.Producer()
        with producer.batch():
            for number in range(80):
                producer.publish(
                    number,
                    exchange="work",
                    routing_key="work",
                    declare=[QUEUE],
                    priority=number % 4 * 3,
                )

    assert emulator.stats()["calls"]["batch"] == {"200": 4}


def test_messages_that_go_back_stay_in_their_level(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        _publish(connection, 6, 0)
        channel = connection.channel()
        both = [channel.basic_get("work"), channel.basic_get("work")]
        for message in both:
            message.requeue()
        wait_until(lambda: emulator.stats()["retried"] == 2, what="both are back")

    assert _held(emulator) == {"work": 1, "q---p6-work": 1}


def test_a_fault_of_one_level_loses_nothing_of_the_others(emulator: EmulatorProcess) -> None:
    with connect(emulator, priority_steps=STEPS) as connection:
        _publish(connection, *[0, 3, 6, 9] * 5)
        emulator.faults({"route": "pull", "kind": "500", "probability": 0.2, "seed": 3})
        order = _drain(connection, 20, prefetch=4)
        emulator.clear_faults()

    assert sorted(order) == sorted([0, 3, 6, 9] * 5)
    assert emulator.stats()["redeliveries"] == 0


def test_workers_run_urgent_tasks_first(site: CloudflareSite, tmp_path: Path) -> None:
    worker = site.ready(
        site.worker("-c", "1", env={"TRANSPORT_PREFETCH": "1"}, priority_steps=STEPS)
    )
    _send(site, "hold", ["first", str(tmp_path / "go")], priority=0)
    wait_until(lambda: site.notes("started"), what="the only process is busy")
    for priority in (9, 6, 3, 0):
        for _ in range(3):
            _send(site, "record", [priority], priority=priority)
    (tmp_path / "go").touch()

    wait_until(lambda: len(site.notes("record")) == 12, 40, "all ran")
    order = [note["value"] for note in site.notes("record")]
    # One was prefetched while the queue was still empty of the others.
    assert order[1:] == sorted(order[1:])
    wait_until(lambda: not any(site.backlog().values()), what="all are acked")
    worker.term()
    assert worker.child.wait(20) == 0


def _send(site: CloudflareSite, task: str, args: list[Any], priority: int) -> None:
    with connect(site.emulator, priority_steps=STEPS) as connection:
        app = Celery(set_as_current=False)
        name = f"tests.support.transport_app.{task}"
        app.send_task(name, args, connection=connection, queue="work", priority=priority)
