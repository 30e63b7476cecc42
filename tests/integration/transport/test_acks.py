"""What is done does not run again, and what is one message is not taken for another."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.transport import connect, make_site, wait_until

#: Seconds of a lease.
LEASE_S = 2.0

QUEUE = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")


class Taker:
    """A consumer of a connection, which keeps the messages it is given."""

    def __init__(self, connection: kombu.Connection, *queues: kombu.Queue) -> None:
        self.connection = connection
        self.messages: list[kombu.Message] = []
        self.consumer = kombu.Consumer(
            connection.channel(), queues or [QUEUE], on_message=self.messages.append
        )
        self.consumer.consume()

    def until(self, condition: Callable[[], Any], seconds: float = 15) -> None:
        """Take messages until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "not in time"
            try:
                self.connection.drain_events(timeout=0.05)
            except TimeoutError:
                continue

    def during(self, seconds: float) -> None:
        """Take messages for some time."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 5)


def publish(connection: kombu.Connection, *bodies: Any, **properties: Any) -> None:
    for body in bodies:
        connection.Producer().publish(
            body, exchange=QUEUE.exchange, routing_key="work", declare=[QUEUE], **properties
        )


def test_what_is_done_is_not_run_by_another_while_its_ack_is_refused(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    options = {"visibility_timeout": LEASE_S, "lease_ledger": f"file://{tmp_path}/ledger"}
    with connect(emulator, **options) as one, connect(emulator, ack_linger=0.05, **options) as two:
        publish(one, "x")
        first = Taker(one)
        first.until(lambda: first.messages)
        emulator.faults({"route": "ack", "kind": "429", "count": 1, "retry_after": 30})
        first.messages[0].ack()
        wait_until(lambda: emulator.faults_in_force()[0]["fired"], 10, "the ack is refused")
        first.consumer.cancel()

        second = Taker(two)
        second.until(lambda: not emulator.stats()["messages"]["work"], 20)

        assert second.messages == []
        assert emulator.stats()["redeliveries"] >= 1, "it came again"


@pytest.mark.parametrize("kind", ["500", "drop_before", "hang"])
def test_a_copy_that_comes_back_while_its_ack_is_refused_is_removed_unrun(
    emulator: EmulatorProcess, kind: str
) -> None:
    options = {"visibility_timeout": 1.0, "lease_ledger": "none", "request_timeout": 0.5}
    with connect(emulator, **options) as connection:
        publish(connection, "x", "y")
        taker = Taker(connection)
        taker.until(lambda: len(taker.messages) == 2)
        emulator.faults({"route": "ack", "kind": kind})
        taker.messages[0].ack()
        taker.until(lambda: emulator.stats()["redeliveries"] >= 2)
        taker.during(0.3)
        emulator.clear_faults()
        # The other is still held here, so that its copy extends its lease.
        taker.during(1.5)
        assert sorted(message.payload for message in taker.messages) == ["x", "y"]
        (other,) = [each for each in taker.messages if each is not taker.messages[0]]
        other.ack()
        taker.until(lambda: not emulator.stats()["messages"]["work"])


@pytest.mark.slow
def test_a_message_in_two_queues_is_two_messages(emulator: EmulatorProcess, tmp_path: Path) -> None:
    news = kombu.Exchange("news", "topic")
    queues = [kombu.Queue(name, news, routing_key="news.#") for name in ("left", "right")]
    options = {"visibility_timeout": LEASE_S, "lease_ledger": f"file://{tmp_path}/ledger"}
    with connect(emulator, **options) as connection:
        taker = Taker(connection, *queues)
        connection.Producer().publish("x", exchange=news, routing_key="news.today")
        taker.until(lambda: len(taker.messages) == 2)
        # Both are kept by records, and come again to be put back.
        taker.until(lambda: emulator.stats()["redeliveries"] >= 2)
        taker.during(0.5 * LEASE_S)

        assert len(taker.messages) == 2
        taker.messages[0].ack()
        taker.during(1.5 * LEASE_S)
        held = {name: emulator.stats()["messages"][name] for name in ("left", "right")}
        assert sorted(held.values()) == [0, 1], "one's end is not the other's"
        taker.messages[1].ack()
        taker.until(lambda: not any(emulator.stats()["messages"].values()))
        assert len(taker.messages) == 2


def test_a_message_id_of_the_users_is_theirs(emulator: EmulatorProcess, tmp_path: Path) -> None:
    options = {"visibility_timeout": LEASE_S, "lease_ledger": f"file://{tmp_path}/ledger"}
    ids = ["same", "same", 5, 5, {"a": [1]}]
    with connect(emulator, **options) as connection:
        for number, message_id in enumerate(ids):
            publish(connection, number, message_id=message_id)
        taker = Taker(connection)
        taker.until(lambda: len(taker.messages) == len(ids))
        taker.until(lambda: emulator.stats()["redeliveries"] >= len(ids))
        taker.during(0.5)

        got = sorted((message.payload, message) for message in taker.messages)
        assert [number for number, _ in got] == list(range(len(ids))), "each once"
        assert [message.properties["message_id"] for _, message in got] == ids
        for _, message in got:
            message.ack()
        taker.until(lambda: not emulator.stats()["messages"]["work"])


def test_headers_are_as_published_and_only_what_somebody_had_is_redelivered(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator, lease_ledger="none") as connection:
        publish(connection, "x", headers={"colour": "blue"})
        cancelled = Taker(connection)  # pulls it, and gives it to nobody
        wait_until(lambda: emulator.stats()["deliveries"] >= 1, 10, "it is pulled")
        cancelled.consumer.cancel()
        wait_until(lambda: emulator.stats()["retried"] >= 1, 10, "it is returned")
        assert cancelled.messages == []

        taker = Taker(connection)
        taker.until(lambda: taker.messages)
        (first,) = taker.messages
        assert first.headers == {"colour": "blue"}
        assert first.delivery_info["redelivered"] is False
        first.requeue()
        taker.until(lambda: len(taker.messages) == 2)
        assert taker.messages[1].headers == {"colour": "blue"}
        assert taker.messages[1].delivery_info["redelivered"] is True
        taker.messages[1].ack()


@pytest.mark.parametrize("task", ["hold", "hold_early"])
def test_a_solo_pool_acks_while_it_runs_the_next(
    emulator: EmulatorProcess, tmp_path: Path, task: str
) -> None:
    with make_site(emulator, tmp_path) as site:
        go = [str(tmp_path / f"go-{number}") for number in range(4)]
        for number, path in enumerate(go):
            site.send(task, number, path)
        options: dict[str, Any] = {"visibility_timeout": 3, "lease_ledger": "none"}
        worker = site.ready(site.worker("-P", "solo", **options))
        acked = 1 if task == "hold_early" else 0  # an early ack comes before the task
        for number in range(2):
            wait_until(lambda n=number: len(site.notes("started")) == n + 1, 20, "it runs")
            wait_until(lambda n=number: emulator.stats()["acked"] == n + acked, 10, "acked")
            Path(go[number]).touch()
        wait_until(lambda: emulator.stats()["acked"] == 2 + acked, 10, "acked while others run")

        worker.kill()
        for path in go:
            Path(path).touch()
        site.worker("-P", "solo", **options)
        wait_until(lambda: not sum(site.backlog().values()), 30, "the rest has run")
        ended = [note["value"] for note in site.notes("ended")]
        assert sorted(ended) == ([0, 1, 3] if acked else [0, 1, 2, 3]), "what had ended ran once"


@pytest.mark.slow
def test_acks_that_were_refused_for_long_survive_a_reconnect(emulator: EmulatorProcess) -> None:
    options: dict[str, Any] = {
        "lease_ledger": "none",
        "visibility_timeout": 3,
        "close_timeout": 0.2,
    }
    with connect(emulator, **options) as connection, connection.SimpleQueue("work") as queue:
        queue.put("once")
        message = queue.get(timeout=20)
        emulator.faults({"route": "ack", "kind": "500"})
        message.ack()
    with connect(emulator, **options) as connection:
        taker = Taker(connection)
        # Its lease ends meanwhile, and a copy of it comes to the same process.
        taker.until(lambda: emulator.stats()["redeliveries"] >= 1)
        emulator.clear_faults()
        taker.until(lambda: emulator.stats()["messages"]["work"] == 0)
        assert taker.messages == []


@pytest.mark.parametrize("ledger", ["none", "file"])
def test_a_publish_that_was_accepted_twice_is_given_once(
    emulator: EmulatorProcess, tmp_path: Path, ledger: str
) -> None:
    """Cloudflare has two messages then, which one pull brings together, or two pulls in turn."""
    place = ledger if ledger == "none" else f"file://{tmp_path}/ledger"
    with connect(emulator, lease_ledger=place) as connection:
        publish(connection, "before")
        taker = Taker(connection)
        taker.until(lambda: taker.messages)
        emulator.faults({"route": "batch", "kind": "drop_after", "count": 1})
        publish(connection, "twice")
        taker.until(lambda: len(taker.messages) == 2)
        taker.until(lambda: emulator.stats()["deliveries"] == 3)
        taker.during(0.2)
        assert [message.payload for message in taker.messages] == ["before", "twice"]
        assert emulator.stats()["messages"]["work"] == 3

        taker.messages[1].ack()
        wait_until(lambda: emulator.stats()["messages"]["work"] == 1, 10, "both are gone")
        taker.messages[0].requeue()
        taker.until(lambda: len(taker.messages) == 3)
