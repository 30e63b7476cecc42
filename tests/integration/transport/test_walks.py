"""A real publish and a real acknowledgement pass the functions that docs/architecture.md names."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import kombu

from tests.support.emulator import EmulatorProcess
from tests.support.transport import connect, wait_until
from tests.unit.test_architecture import TREE, walk

Stop = tuple[str, str]


@contextmanager
def followed() -> Iterator[list[Stop]]:
    """The functions of ours that any thread enters, in this block, by file and qualified name.

    Only threads that start in the block are followed, besides this one.
    """
    entered: list[Stop] = []
    package = str(TREE / "cutmv")

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            file = str(Path(frame.f_code.co_filename).relative_to(TREE))
            entered.append((file, frame.f_code.co_qualname))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield entered
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def assert_passed(entered: list[Stop], stops: list[Stop]) -> None:
    """Each stop is entered, in the walk's order."""
    at = -1
    for stop in stops:
        assert stop in entered[at + 1 :], f"{stop} is not passed after {stops[: stops.index(stop)]}"
        at = entered.index(stop, at + 1)


def test_a_publish_passes_the_stops_of_its_walk(emulator: EmulatorProcess) -> None:
    queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
    with connect(emulator) as connection:
        producer = connection.Producer()
        producer.publish("a", exchange=queue.exchange, routing_key="work", declare=[queue])

        with followed() as entered:
            producer.publish("b", exchange=queue.exchange, routing_key="work")

    assert_passed(entered, walk("A publish"))


def test_an_acknowledgement_passes_the_stops_of_its_walk(emulator: EmulatorProcess) -> None:
    queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
    with connect(emulator) as connection:
        connection.Producer().publish(
            "a", exchange=queue.exchange, routing_key="work", declare=[queue]
        )
        with followed() as entered:
            message = queue(connection.channel()).get()
            assert message is not None
            message.ack()
            wait_until(lambda: emulator.stats()["acked"] == 1, what="it is acked")

    assert_passed(entered, walk("An acknowledgement"))
