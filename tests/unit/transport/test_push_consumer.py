"""A push consumer: who waits, who runs, and what copies and broken connections get."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.consumer.push import PushConsumer, PushedMessages
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.edge import DeliveryCallback, Outcome
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery
from cutmv.transports.cloudflare.options import Options


class FakeServer:
    """Takes no connections."""

    def attach(self, _name: str, _handler: Any) -> None: ...

    def detach(self, _name: str) -> None: ...


class FakeIntake:
    """Admits everything."""

    def __init__(self) -> None:
        self.name = "q"
        self.queue = self

    def adopt(self, entry: dict[str, Any]) -> dict[str, Any]:
        return entry

    def admit(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return list(deliveries)


class Pushing:
    """Push consumers of one process, one after the other, with room for one message."""

    def __init__(self) -> None:
        self.client = Client(Credentials("account", "token"), Options())
        self.acks = Acknowledger(self.client, linger=0)
        self.messages = PushedMessages()
        self.running: list[Delivery] = []
        self.errors: list[Exception] = []
        self.told: dict[str, list[Outcome]] = {}
        self.consumer = self.connect()

    def connect(self) -> PushConsumer:
        """Return a new consumer, as after a reconnect."""
        qos = QoS(None, self.acks, 0.0)
        qos.prefetch_count = 1
        consumer = PushConsumer(
            [FakeIntake()],  # type: ignore[list-item]
            push_server=FakeServer(),  # type: ignore[arg-type]
            pushed_messages=self.messages,
            acknowledger=self.acks,
            qos=qos,
            lease_seconds=60,
            on_deliveries=self.running.extend,
            on_error=self.errors.append,
        )
        consumer.start()
        return consumer

    def push(self, text: str, connection: str, seconds: float = 800) -> DeliveryCallback:
        """Push a message by a connection; its outcomes are in `told`."""
        told = self.told[connection] = []
        callback = told.append
        entry = {"id": text, "attempts": 1, "timestamp_ms": len(self.told), "body": text}
        self.consumer.take("q", [(entry, callback)], seconds)
        return callback

    def end(self, number: int, delay: float | None = None) -> None:
        """End the delivery of a message that runs."""
        delivery = self.running[number]
        assert delivery.on_end
        delivery.on_end(delivery, delay)

    def runs(self, count: int) -> None:
        """Wait until so many messages were given room."""
        self.until(lambda: len(self.running) == count)

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.002)


@pytest.fixture
def pushing() -> Iterator[Pushing]:
    pushing = Pushing()
    yield pushing
    pushing.consumer.stop()
    pushing.consumer.join(5)
    pushing.client.close()


def message(name: str) -> str:
    return json.dumps({"id": name, "body": "", "headers": {}, "properties": {}})


def test_copies_join_the_message_that_waits_and_the_one_that_runs(pushing: Pushing) -> None:
    pushing.push(message("one"), "first")
    pushing.runs(1)
    pushing.push(message("one"), "second")
    pushing.push(message("two"), "third")
    pushing.push(message("two"), "fourth")
    assert pushing.consumer.stats() == {"waiting": 1, "running": 1, "busy_answers": 0}

    pushing.end(0)

    ack = [Outcome("ack")]
    assert (pushing.told["first"], pushing.told["second"]) == (ack, ack)
    assert (pushing.told["third"], pushing.told["fourth"]) == ([], [])


def test_what_waits_for_long_is_asked_for_again_and_keeps_its_copies(pushing: Pushing) -> None:
    pushing.push(message("one"), "first")
    pushing.runs(1)
    second, third = (pushing.push(message("two"), each) for each in ("second", "third"))

    pushing.consumer.withdraw({second})
    assert pushing.told["second"] == [Outcome("wait")]
    assert pushing.consumer.stats()["waiting"] == 1
    pushing.consumer.broken({third})
    assert pushing.consumer.stats()["waiting"] == 0


def test_who_can_not_wait_is_told_when_to_come_again(pushing: Pushing) -> None:
    pushing.push(message("one"), "first")
    pushing.runs(1)
    second = pushing.push(message("two"), "second", seconds=0)
    (waits,) = [each for each in pushing.messages.by_key.values() if each.line is not None]
    waits.until = 0.0  # its time is up

    pushing.consumer.withdraw({second})

    (outcome,) = pushing.told["second"]
    assert (outcome.outcome, outcome.delay_seconds) == ("busy", 1)
    assert pushing.consumer.stats()["busy_answers"] == 1


def test_a_copy_finds_the_message_that_runs_on_after_a_reconnect(pushing: Pushing) -> None:
    pushing.push(message("one"), "first")
    pushing.runs(1)
    pushing.push(message("two"), "second")
    pushing.consumer.stop()
    assert pushing.told["second"] == [Outcome("wait")]

    pushing.consumer = pushing.connect()
    pushing.push(message("one"), "third")
    pushing.end(0)
    pushing.push(message("one"), "fourth")

    for connection in ("first", "third", "fourth"):
        assert pushing.told[connection] == [Outcome("ack")]
    assert len(pushing.running) == 1


def test_a_message_that_makes_no_sense_is_taken_like_any(pushing: Pushing) -> None:
    headers = [{"timelimit": 5}, {"timelimit": ["x"]}, {"task": {}}, {"timelimit": [None, None]}]
    for place, each in enumerate(headers):
        text = json.dumps({"id": f"{place}", "body": "", "headers": each, "properties": {}})
        pushing.push(text, f"{place}")
    pushing.push("no JSON", "text")
    assert pushing.consumer.stats()["waiting"] + len(pushing.running) == 5
