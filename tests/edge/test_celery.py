"""Celery over the edge Worker: tasks pushed to real workers, remote control by the hub."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
from celery import Celery

from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding
from tests.integration.transport.test_push import ANSWER_S, Push, PushSite
from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.line import Line
from tests.support.processes import free_port
from tests.support.site import hub_options, went_by_the_hub
from tests.support.transport import WorkerProcess, connect, wait_until

pytestmark = pytest.mark.edge


class EdgeSite(PushSite):
    """A site whose messages go through the Worker, to one worker's push server or to pollers."""

    def __init__(self, emulator: EmulatorProcess, directory: Path, edge: Worker, port: int) -> None:
        super().__init__(emulator, directory)
        self.edge, self.port = edge, port
        self.broker |= {"CLOUDFLARE_EDGE_URL": edge.url, "CLOUDFLARE_EDGE_KEYS": KEY}

    def edge_worker(self, *args: str, **options: Any) -> WorkerProcess:
        """A worker that takes what is pushed."""
        env = {"CLOUDFLARE_INGRESS_PORT": str(self.port)} | options.pop("env", {})
        return self.ready(self.worker(*args, env=env, **options))

    def calls(self) -> dict[str, int]:
        """Calls of the REST API by route, answered well."""
        return {
            route: counts["200"]
            for route, counts in self.emulator.stats()["calls"].items()
            if "200" in counts
        }


@pytest.fixture
def site(
    emulator: EmulatorProcess, tmp_path: Path, make_worker: Callable[..., Worker]
) -> Iterator[EdgeSite]:
    port = free_port()
    edge = make_worker(
        queues={"work": {"dead_letter_queue": "work-dead"}},
        INGRESS_URL=f"http://127.0.0.1:{port}",
    )
    site = EdgeSite(emulator, tmp_path, edge, port)
    yield site
    site.close()


def test_tasks_published_through_the_worker_are_pushed_and_run_once(site: EdgeSite) -> None:
    site.edge_worker()
    for number in range(10):
        site.send("record", number)
    wait_until(lambda: len(site.notes("record")) >= 10, 60, "they ran")
    site.send("flaky", "again", 2)
    wait_until(lambda: len(site.notes("try")) == 3, 60, "its retries are pushed, too")

    assert sorted(note["value"] for note in site.notes("record")) == list(range(10))
    assert "batch" not in site.calls(), "no message went by the REST API"
    assert not site.held()


def test_a_publisher_uses_the_rest_api_while_the_worker_is_away(site: EdgeSite) -> None:
    site.edge.stop()
    site.send("record", "by REST")
    assert site.backlog() == {"work": 1}


@pytest.mark.slow
def test_a_publish_whose_answer_was_lost_is_there_twice_and_runs_once(site: EdgeSite) -> None:
    site.edge_worker()
    line = Line(urlsplit(site.edge.url).port or 0)
    site.broker["CLOUDFLARE_EDGE_URL"] = f"http://127.0.0.1:{line.port}"
    line.mute = True
    site.send("record", "twice")
    line.close()
    wait_until(lambda: site.notes("record"), 60, "the Worker had taken it, and pushed it")

    (copy,) = site.texts(1)  # by REST, when the Worker did not answer
    push = Push(site.port, copy)

    assert push.outcome(0) == {"outcome": "ack"}
    assert push.ended.wait(ANSWER_S)
    assert len(site.notes("record")) == 1


def test_remote_control_goes_by_the_hub_and_makes_no_queues(site: EdgeSite) -> None:
    worker = site.edge_worker(sociable=True)
    assert worker
    started = time.monotonic()
    assert inspect(site, "ping") == {"w0@test": {"ok": "pong"}}
    print(f"inspect ping, its process included: {time.monotonic() - started:.2f} s")
    assert list(inspect(site, "stats")) == ["w0@test"]
    assert [name for name in site.emulator.stats()["messages"] if TemporaryBinding.read(name)] == []


def test_no_reply_is_missed_by_one_whose_connection_breaks(site: EdgeSite) -> None:
    worker = site.edge_worker(sociable=True)
    line = Line(urlsplit(site.edge.url).port or 0)
    url = f"cloudflare://:{site.emulator.api_token}@{site.emulator.account_id}"
    with Celery(broker=url) as app, ThreadPoolExecutor() as pool:
        app.conf.broker_transport_options = {
            "api_base_url": site.emulator.base_url,
            "edge_url": f"http://127.0.0.1:{line.port}",
            "edge_keys": KEY,
        }
        worker.child.send_signal(signal.SIGSTOP)
        asked = pool.submit(app.control.inspect(timeout=40, limit=1).ping)
        for _ in range(3):  # with the question under way, or before it, or after
            wait_until(line.cut, 20, "there is a connection to cut")
        worker.child.send_signal(signal.SIGCONT)
        assert asked.result() == {"w0@test": {"ok": "pong"}}
    line.close()


@pytest.mark.slow
def test_binding_queues_stand_in_while_the_worker_is_away(site: EdgeSite) -> None:
    site.edge_worker(sociable=True)
    assert inspect(site, "ping") == {"w0@test": {"ok": "pong"}}
    site.edge.stop()

    def pong() -> bool:
        return bool(inspect(site, "ping") == {"w0@test": {"ok": "pong"}})

    wait_until(pong, 60, "it answers by queues")
    assert [name for name in site.emulator.stats()["messages"] if TemporaryBinding.read(name)]
    site.edge.start()
    wait_until(pong, 60, "it answers by the hub again")


def test_fifty_subscribers_get_each_event_once_and_in_order(
    emulator: EmulatorProcess, hub_worker: Worker
) -> None:
    hub = hub_options(hub_worker)
    exchange, numbers = kombu.Exchange("celeryev", type="topic"), list(range(100))
    there, everyone = threading.Semaphore(0), range(50)
    door = threading.Semaphore(4)  # a hub that is not there within seconds is stood in for

    def subscribe(number: int) -> list[int]:
        heard: list[int] = []
        queue = kombu.Queue(f"ev.{number}", exchange, routing_key="task.#", auto_delete=True)
        # Of different options, so that each has a connection to the hub of its own.
        with connect(emulator, ack_linger=0.2 + number / 1000, **hub) as listener:
            consumer = listener.Consumer(queue, no_ack=True, auto_declare=False)
            consumer.register_callback(lambda body, _: heard.append(body["n"]))
            with door:
                consumer.declare()
            with consumer:
                there.release()
                with contextlib.suppress(TimeoutError):  # what comes twice comes soon
                    while True:
                        listener.drain_events(timeout=2 if heard and heard[-1] == 99 else 30)
        return heard

    with ThreadPoolExecutor(len(everyone)) as pool, connect(emulator, **hub) as sender:
        heard = pool.map(subscribe, everyone)
        for _ in everyone:
            assert there.acquire(timeout=60)
        producer = sender.Producer(exchange=exchange)
        for number in numbers:
            producer.publish({"n": number}, routing_key="task.progress", delivery_mode=1)
        assert list(heard) == [numbers] * len(everyone)
    went_by_the_hub(emulator)


def inspect(site: EdgeSite, method: str) -> dict[str, Any]:
    """What `celery inspect` gets in a process of its own."""
    code = (
        "import json, sys; from tests.support.transport_app import app\n"
        "print(json.dumps(getattr(app.control.inspect(timeout=2, limit=1), sys.argv[1])()))\n"
    )
    ran = run_python("-c", code, method, env=site.env(), check=True)
    return json.loads(ran.stdout) or {}
