"""Celery's broadcast routes: each worker gets the task, and publishers declare nothing."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import kombu
import pytest

from cutmv.transports.cloudflare.queues import stands_for_binding
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.site import HUB
from tests.support.transport import CloudflareSite, Site, connect, wait_until

here = pytest.mark.parametrize("site", ["cloudflare", HUB], indirect=True)


@here
def test_a_broadcast_task_runs_on_each_worker_that_is_there(site: Site, tmp_path: Path) -> None:
    site.app = "tests.support.broadcast_app"
    first = site.ready(site.worker())
    second = site.ready(site.worker())
    site.send("reload", "both")
    assert workers(site, "reload", 2) == ["w0@test", "w1@test"]
    go = tmp_path / "go"
    site.send("late", "both", str(go))
    go.touch()
    assert workers(site, "late", 2) == ["w0@test", "w1@test"]
    site.send("record", "one")
    assert len(workers(site, "record", 1)) == 1

    second.kill()  # its queue is left behind, and must not keep others from theirs
    site.ready(site.worker())
    site.send("reload", "later")
    assert workers(site, "reload", 4) == ["w0@test", "w0@test", "w1@test", "w2@test"]
    first.term()
    assert first.child.wait(30) == 0
    assert len(site.notes("record")) == 1


@pytest.mark.parametrize("site", ["cloudflare"], indirect=True)
def test_a_broadcast_task_without_a_worker_is_dropped_and_fails_no_publisher(
    site: CloudflareSite,
) -> None:
    site.app = "tests.support.broadcast_app"
    site.send("reload", "nobody")  # RabbitMQ drops it, too
    assert site.emulator.stats()["messages"] == {}


EXCHANGE = kombu.Exchange("bc", type="fanout")

#: What Celery makes of a route to a queue that the app does not list.
UNLISTED = kombu.Queue("bc", kombu.Exchange("bc"), routing_key="bc")


#: A process that declares the queue, publishes to it, and ends without closing its connection.
ENDS_ABRUPTLY = """
import kombu, cutmv.transports.cloudflare
exchange = kombu.Exchange("bc", type="fanout")
queue = kombu.Queue("bc", exchange, auto_delete={})
connection = kombu.Connection("cloudflare://")
connection.Producer().publish("by one that ends", exchange=exchange, declare=[queue])
"""


@pytest.mark.parametrize("lasting", [False, True])
def test_a_fanout_queue_that_two_share_gives_each_message_once_by_each_route(
    emulator: EmulatorProcess, lasting: bool
) -> None:
    """`Broadcast(name="bc", queue="bc")`: as on RabbitMQ, one of the two gets a message."""
    queue = kombu.Queue("bc", EXCHANGE, auto_delete=not lasting)
    routes: dict[str, dict[str, Any]] = {
        "exchange": {"exchange": "bc", "routing_key": ""},
        "declared": {"exchange": EXCHANGE, "declare": [queue]},
        "name": {"exchange": "", "routing_key": "bc"},
        "declared name": {"exchange": "", "routing_key": "bc", "declare": [queue]},
        "unlisted exchange": {"exchange": "bc", "routing_key": "bc", "declare": [UNLISTED]},
        "unlisted name": {"exchange": "", "routing_key": "bc", "declare": [UNLISTED]},
    }
    got: list[str] = []

    def take(body: str, message: kombu.Message) -> None:
        got.append(body)
        message.ack()

    # Of different options, so that they share no more than processes would.
    with connect(emulator) as one, connect(emulator, ack_linger=0.2) as two:
        with one.Consumer([queue], callbacks=[take]), two.Consumer([queue], callbacks=[take]):
            declared = ENDS_ABRUPTLY.format(not lasting)
            run_python("-c", declared, env={**os.environ, **emulator.env()}, check=True)
            for n, (name, how) in enumerate(routes.items()):
                with connect(emulator, ack_linger=0.3 + n / 10) as publisher:
                    publisher.Producer().publish(name, **how)
            wait_until(lambda: _drained(one, two) or len(got) > len(routes))
            _drained(one, two)
        assert sorted(got) == sorted([*routes, "by one that ends"])
        held = emulator.stats()["messages"]
        assert {name for name in held if not stands_for_binding(name)} == (
            {"bc", "bc-dead"} if lasting else set()
        )


def test_a_queue_that_lasts_is_read_by_who_declares_it_temporary(
    emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """The publisher was first."""
    queue, got = kombu.Queue("bc", EXCHANGE, auto_delete=True), []
    with connect(emulator, ack_linger=0.2) as publisher:
        publisher.Producer().publish("early", routing_key="bc", declare=[UNLISTED])
    with connect(emulator) as connection, connection.Consumer([queue], on_message=got.append):
        with connect(emulator, ack_linger=0.2) as publisher:
            publisher.Producer().publish("late", exchange="bc", routing_key="")
        wait_until(lambda: _drained(connection) or len(got) == 2)
        for message in got:
            message.ack()
    assert {message.payload for message in got} == {"early", "late"}
    assert "queue 'bc': auto_delete has no effect: it exists, and stays" in caplog.text


def _drained(*connections: kombu.Connection) -> None:
    """Have each connection's consumers take what there is."""
    for connection in connections:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.2)


def workers(site: Site, event: str, count: int) -> list[str]:
    """Wait for so many notes; return who wrote them."""
    wait_until(lambda: len(site.notes(event)) >= count, 30, f"{count} times {event}")
    return sorted(note["worker"] for note in site.notes(event))
