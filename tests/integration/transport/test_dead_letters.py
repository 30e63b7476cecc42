"""Dead letters over the emulator: where they come from, and that none is lost."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import kombu
import pytest

from cutmv.transports.cloudflare.leases import ledger as ledgers
from cutmv.transports.cloudflare.leases import open_ledger
from cutmv.transports.cloudflare.messages import envelope
from tests.support.emulator import EmulatorProcess
from tests.support.queues import client
from tests.support.transport import connect, noise, wait_until


def _queues(emulator: EmulatorProcess) -> dict[str, dict[str, Any]]:
    """Return the account's queues as the API shows them, by name."""
    return {each["queue_name"]: each for each in client(emulator).list_queues(1e12)}


def _waiting(emulator: EmulatorProcess, name: str) -> list[dict[str, Any]]:
    return client(emulator).peek(_queues(emulator)[name]["queue_id"], 100, 1e12)


def _declare(connection: kombu.Connection, name: str) -> kombu.Queue:
    queue = kombu.Queue(name, kombu.Exchange(name), routing_key=name)
    queue(connection.channel()).declare()
    return queue


def test_a_queue_that_is_created_gets_a_dead_letter_queue_which_has_none_itself(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator, queue_max_retries=7) as connection:
        _declare(connection, "work")
        _declare(connection, "work-dead")  # as somebody who reads the dead letters does

    queues = _queues(emulator)
    assert set(queues) == {"work", "work-dead"}
    (consumer,) = queues["work"]["consumers"]
    assert consumer["dead_letter_queue"] == "work-dead"
    assert consumer["settings"]["max_retries"] == 7
    (consumer,) = queues["work-dead"]["consumers"]
    assert consumer["dead_letter_queue"] == ""
    assert consumer["settings"]["max_retries"] == 100
    assert queues["work-dead"]["settings"]["message_retention_period"] == 14 * 24 * 3600


def test_a_queue_that_exists_costs_no_further_call(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _declare(connection, "work")
    before = emulator.stats()["calls"]
    with connect(emulator) as connection:
        _declare(connection, "work")

    after = emulator.stats()["calls"]
    assert after.pop("list") == {"200": before.pop("list")["200"] + 1}
    assert after == before


def test_without_a_dead_letter_queue_none_is_made(emulator: EmulatorProcess) -> None:
    with connect(emulator, dead_letter_queue="") as connection:
        _declare(connection, "work")

    assert set(_queues(emulator)) == {"work"}


def test_binding_queues_have_no_dead_letters(emulator: EmulatorProcess) -> None:
    exchange = kombu.Exchange("news", type="fanout")
    queue = kombu.Queue("news.me", exchange, auto_delete=True)
    with connect(emulator) as connection, kombu.Consumer(connection, [queue]):
        (name,) = _queues(emulator)
        assert name.startswith("q---t")


def _read_all(connection: kombu.Connection, queue: kombu.Queue, count: int) -> list[Any]:
    bodies: list[Any] = []
    with kombu.Consumer(
        connection, [queue], callbacks=[lambda body, message: (bodies.append(body), message.ack())]
    ):
        while len(bodies) < count:
            connection.drain_events(timeout=10)
    return bodies


def test_what_can_t_be_read_moves_to_the_dead_letters_as_it_is(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        queue = _declare(connection, "work")
        queue_id = _queues(emulator)["work"]["queue_id"]
        client(emulator).put(
            queue_id,
            [
                {"body": "no json", "content_type": "text"},
                {"body": {"a": ["é"]}, "content_type": "json"},
            ],
            1e12,
        )
        for body in (b"text after all", b"\xff\x00"):
            _produce_bytes(emulator, "work", body)
        connection.Producer().publish("good", exchange=queue.exchange, routing_key="work")
        assert _read_all(connection, queue, 1) == ["good"]
        wait_until(lambda: emulator.stats()["acked"] == 5, what="all are acked")

    dead = [(m["metadata"]["CF-Content-Type"], m["body"]) for m in _waiting(emulator, "work-dead")]
    assert sorted(dead) == [
        ("json", "eyJhIjpbIsOpIl19"),  # {"a":["é"]}, as the API shows JSON
        ("text", "/wA="),
        ("text", "no json"),
        ("text", "text after all"),
    ]


def test_what_can_t_be_read_waits_while_the_dead_letter_queue_takes_nothing(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutmv.transports.cloudflare.consumer.dead_letters.MOVE_RETRY_DELAY", 0.0)
    with connect(emulator, publish_timeout=0.2) as connection:
        queue = _declare(connection, "work")
        client(emulator).publish(_queues(emulator)["work"]["queue_id"], [("x", None)], 1e12)
        emulator.faults({"route": "batch", "kind": "500", "count": 3})
        with kombu.Consumer(connection, [queue], callbacks=[]):
            wait_until(lambda: emulator.stats()["messages"]["work-dead"], what="it is moved")

    assert [m["body"] for m in _waiting(emulator, "work-dead")] == ["x"]
    assert emulator.stats()["messages"]["work"] == 0


def test_a_single_get_of_what_can_t_be_read_moves_it_too(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _declare(connection, "work")
        client(emulator).publish(_queues(emulator)["work"]["queue_id"], [("x", None)], 1e12)
        assert connection.channel().basic_get("work") is None

    assert [m["body"] for m in _waiting(emulator, "work-dead")] == ["x"]


def test_a_dead_letter_queue_that_was_deleted_is_made_again(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        queue = _declare(connection, "work")
        connection.channel().queue_delete("work-dead")
        client(emulator).publish(_queues(emulator)["work"]["queue_id"], [("x", None)], 1e12)
        with kombu.Consumer(connection, [queue], callbacks=[]):
            wait_until(lambda: emulator.stats()["messages"].get("work-dead"), what="it is moved")


def test_a_message_returned_too_often_is_dead(emulator: EmulatorProcess) -> None:
    with connect(emulator, queue_max_retries=2) as connection:
        queue = _declare(connection, "work")
        connection.Producer().publish("x", exchange=queue.exchange, routing_key="work")
        deliveries: list[int] = []

        def refuse(body: Any, message: kombu.Message) -> None:
            deliveries.append(message.delivery_info["delivery_count"])
            message.requeue()

        with kombu.Consumer(connection, [queue], callbacks=[refuse]):
            while len(deliveries) < 3:
                connection.drain_events(timeout=10)
        wait_until(lambda: emulator.stats()["messages"]["work-dead"], what="it is dead")

    assert deliveries == [1, 2, 3]
    (dead,) = _waiting(emulator, "work-dead")
    assert json.loads(dead["body"])["headers"] == {}


def test_a_large_message_that_its_consumers_do_not_survive_is_whole_when_it_is_replayed(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    options = {
        "large_messages": (tmp_path / "store").as_uri(),
        "lease_ledger": (tmp_path / "ledger").as_uri(),
        "queue_max_retries": 10,
    }
    with connect(emulator, **options) as connection:
        queue, channel = _declare(connection, "work"), connection.channel()
        connection.Producer().publish(noise(200_000), exchange=queue.exchange, routing_key="work")
        # Ten consumers were lost that held it, one after the other, and it comes once more.
        queue_id, until = _queues(emulator)["work"]["queue_id"], time.monotonic() + 10
        (entry,) = client(emulator).pull(queue_id, 1, 60, until).messages
        identity = envelope.identity("work", entry, envelope.decode(entry))
        ledger = open_ledger(options["lease_ledger"], "account")
        assert ledger.write(identity, ledgers.Entry("lost", "held", 0.0, 10), None)
        client(emulator).end_leases(queue_id, [], [(entry["lease_id"], 0)], until)

        assert channel.basic_get("work") is None
        assert connection.transport.session.acknowledger.flush(10)
        (dead,) = _waiting(emulator, "work-dead")
        client(emulator).publish(queue_id, [(dead["body"], None)], until)

        replayed = channel.basic_get("work")
        assert replayed.payload == noise(200_000)
        replayed.ack()


def _produce_bytes(emulator: EmulatorProcess, queue: str, body: bytes) -> None:
    """Put bytes into a queue, as only a Worker can."""
    root = emulator.base_url.removesuffix("/client/v4")
    url = f"{root}/_emulator/produce?queue={queue}&content_type=bytes"
    urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=10).close()
