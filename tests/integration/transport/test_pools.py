"""Every pool of Celery's, producers in forked servers, and brokers that come and go."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kombu
import pytest
from celery import Celery

from cutmv.transports.cloudflare.session import FAILURE_BELIEVED
from tests.support.emulator import EmulatorProcess
from tests.support.processes import Process, free_port, wait_for
from tests.support.queues import client, queue_id
from tests.support.transport import CloudflareSite, connect, make_site, wait_until

#: Seconds in which an idle worker has ended after SIGTERM.
END_S = 10

FORK = """
import os, sys
from tests.support.transport_app import record
record.delay("parent, before")
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        for _ in range(10):
            record.delay(f"child {number}")
        os._exit(0)
    children.append(child)
record.delay("parent, after")
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""

SERVER = """
import os
from tests.support.transport_app import record
record.delay("master")
def serve(environ, start_response):
    record.delay(f"server {os.getpid()}")
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pool", "size"),
    [("prefork", 2), ("threads", 8), ("solo", 1), ("gevent", 20), ("eventlet", 20)],
)
def test_every_pool_runs_tasks_and_ends_in_time(site: CloudflareSite, pool: str, size: int) -> None:
    worker = site.ready(site.worker("-P", pool, "-c", str(size)))
    site.send_each("record", [str(number) for number in range(200)], 8)
    wait_until(lambda: site.emulator.stats()["acked"] == 200, 60, "all are acked")
    values = [int(note["value"]) for note in site.notes("record")]
    assert sorted(values) == list(range(200))

    worker.term()
    assert worker.child.wait(END_S) == 0
    stats = site.emulator.stats()
    assert stats["leases_outstanding"] == 0
    assert stats["redeliveries"] == 0
    assert "Traceback" not in worker.log()


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_a_pool_s_warm_shutdown_runs_or_returns_each_task(
    site: CloudflareSite, tmp_path: Path, pool: str
) -> None:
    site.app = "tests.support.semantics_app"
    worker = site.ready(site.worker("-P", pool, visibility_timeout=3600))
    site.send_each("hold_at_site", [str(number) for number in range(12)], 4)
    running = 1 if pool == "solo" else 2
    wait_until(lambda: len(site.notes("started")) == running, what="it is busy")

    worker.term()
    wait_until(lambda: "Warm shutdown" in worker.log(), what="it has heard")
    (tmp_path / "go").touch()

    worker.child.wait(END_S)
    stats = site.emulator.stats()
    ended = len(site.notes("ended"))
    assert stats["leases_outstanding"] == 0
    assert (stats["acked"], site.held()) == (ended, 12 - ended)


@pytest.mark.parametrize(
    "pool",
    [
        "prefork",
        "threads",
        pytest.param("gevent", marks=pytest.mark.slow),
        pytest.param("eventlet", marks=pytest.mark.slow),
    ],
)
def test_a_lost_connection_gives_back_only_what_will_not_run_here(
    site: CloudflareSite, tmp_path: Path, pool: str
) -> None:
    """A threads pool runs what waits for a thread, whether the connection is there or not.

    A worker whose greenlets are all busy hears of its connection when one ends.
    """
    site.app = "tests.support.semantics_app"
    worker = site.ready(site.worker("-P", pool, visibility_timeout=3600))
    site.send_each("hold_at_site", [str(number) for number in range(7)], 4)
    wait_until(lambda: len(site.notes("started")) == 2, what="two tasks run")
    wait_until(
        lambda: site.emulator.stats()["leases_outstanding"] == 7, what="the others are prefetched"
    )

    api, to = client(site.emulator), queue_id(site.emulator, "work")
    [consumer] = next(q for q in api.list_queues(1e12) if q["queue_id"] == to)["consumers"]
    api.delete_consumer(to, consumer["consumer_id"], 1e12)
    if pool in ("gevent", "eventlet"):
        (tmp_path / "go").touch()
    wait_until(lambda: "onnection to broker lost" in worker.log(), 30, "it reconnects")
    wait_until(lambda: api_has_consumer(site), 30, "it has a pull consumer again")
    (tmp_path / "go").touch()

    wait_until(lambda: site.held() == 0, 30, "all are done")
    assert sorted(note["value"] for note in site.notes("started")) == [str(n) for n in range(7)]
    worker.term()
    assert worker.child.wait(END_S) == 0


def api_has_consumer(site: CloudflareSite) -> bool:
    queues = client(site.emulator).list_queues(1e12)
    return any(queue["queue_name"] == "work" and queue["consumers"] for queue in queues)


# --- producers


def test_children_forked_after_a_publish_publish_too(site: CloudflareSite) -> None:
    subprocess.run([sys.executable, "-c", FORK], env=site.env(), check=True, timeout=60)
    assert site.backlog() == {"work": 22}


def test_a_preloaded_server_publishes_from_master_and_workers(
    site: CloudflareSite, tmp_path: Path
) -> None:
    (tmp_path / "forked_server.py").write_text(SERVER)
    port = free_port()
    server = Process.python(
        ["gunicorn", "--preload", "--workers=2", "--no-control-socket",
         f"--bind=127.0.0.1:{port}", f"--chdir={tmp_path}", "forked_server:serve"],
        site.env(),
        tmp_path / "gunicorn.log",
    )  # fmt: skip
    try:
        wait_for(lambda: server.log.count("Booting worker") == 2, what="both workers run")

        def get(_: int) -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                return bytes(answer.read())

        # At once: one worker alone would take all that come one after the other.
        with ThreadPoolExecutor(8) as pool:
            served = set(pool.map(get, range(40)))
    finally:
        assert server.stop() == 0

    assert len(served) == 2
    assert site.backlog() == {"work": 41}


# --- brokers that come and go


@pytest.mark.slow
def test_ensure_tries_until_the_broker_is_back(emulator: EmulatorProcess) -> None:
    with connect(emulator, publish_timeout=0.5) as connection:
        queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
        producer = connection.Producer()
        producer.publish(1, exchange="work", routing_key="work", declare=[queue])
        emulator.kill()
        failed: list[Exception] = []

        def on_error(error: Exception, interval: float) -> None:
            failed.append(error)
            if len(failed) == 2:
                emulator.start()

        count = connection.ensure(
            producer,
            lambda: producer.channel.queue_declare("work", passive=True).message_count,
            errback=on_error,
            interval_start=0,
            interval_step=0.1,
            max_retries=20,
        )()

    assert count == 1
    assert len(failed) >= 2
    assert all(isinstance(error, connection.connection_errors) for error in failed)


@pytest.mark.slow
def test_a_caller_hears_that_the_broker_is_away_and_may_call_again(
    emulator: EmulatorProcess,
) -> None:
    app = Celery("caller", broker=f"cloudflare://:{emulator.api_token}@{emulator.account_id}")
    app.conf.broker_transport_options = {"api_base_url": emulator.base_url}
    emulator.kill()
    with pytest.raises(kombu.exceptions.OperationalError, match="gave no answer"):
        app.send_task("x", queue="work", retry_policy={"max_retries": 1, "interval_start": 0})
    emulator.start()
    time.sleep(FAILURE_BELIEVED)
    app.send_task("x", queue="work")
    app.close()

    assert emulator.stats()["messages"]["work"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_worker_started_before_its_broker_becomes_ready_when_it_comes(
    site: CloudflareSite, pool: str
) -> None:
    site.emulator.kill()
    worker = site.worker("-P", pool)
    wait_until(lambda: "Cannot connect to cloudflare://" in worker.log(), 40, "it says why not")
    assert "Trying again" in worker.log()

    site.emulator.start()
    site.ready(worker)
    site.send("record", "x")

    wait_until(lambda: site.notes("record"), what="a task ran")
    worker.term()
    assert worker.child.wait(END_S) == 0


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_worker_lives_through_restarts_of_its_broker(site: CloudflareSite, pool: str) -> None:
    worker = site.ready(site.worker("-P", pool))
    for turn in range(3):
        site.emulator.kill()
        site.emulator.start()
        site.send("record", turn)
        wait_until(lambda n=turn: site.notes("record")[n:], 30, "a task after a restart")

    wait_until(lambda: site.backlog() == {"work": 0}, what="all are acked")
    worker.term()
    assert worker.child.wait(END_S) == 0
    assert [note["value"] for note in site.notes("record")] == [0, 1, 2]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_whose_broker_is_away_still_ends_in_time(site: CloudflareSite, pool: str) -> None:
    worker = site.ready(site.worker("-P", pool))
    site.emulator.kill()
    wait_until(lambda: "pulling from" in worker.log(), what="the outage is noticed")

    worker.child.send_signal(signal.SIGTERM)
    assert worker.child.wait(2 * END_S) == 0
