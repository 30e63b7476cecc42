"""Leases that follow the work: long tasks run once, and a dead worker's soon run elsewhere."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cutmv.transports.cloudflare.leases import token_keys
from tests.support.emulator import EmulatorProcess
from tests.support.redis import RedisServer
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line
from tests.support.transport import CloudflareSite, WorkerProcess, connect, make_site, wait_until

#: Seconds of a lease.
LEASE_S = 2.0


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


@pytest.fixture(params=["file", "redis", "r2"])
def ledger(request: pytest.FixtureRequest, site: CloudflareSite, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/ledger"
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    site.broker |= {
        "R2_ACCESS_KEY_ID": KEY_ID,
        "R2_SECRET_ACCESS_KEY": SECRET,
        "R2_ENDPOINT_URL": request.getfixturevalue("s3_url"),
    }
    return f"r2://{BUCKET}/leases-{os.getpid()}"


def start(site: CloudflareSite, ledger: str, count: int = 2, **options: Any) -> list[WorkerProcess]:
    options = {"visibility_timeout": LEASE_S, "lease_ledger": ledger} | options
    workers = [site.worker(**options) for _ in range(count)]
    return [site.ready(worker) for worker in workers]


def worker_of(note: dict[str, Any], workers: list[WorkerProcess]) -> WorkerProcess:
    """The worker whose pool's process wrote the note."""
    (found,) = [worker for worker in workers if os.getpgid(note["pid"]) == worker.child.pid]
    return found


def nothing_left(site: CloudflareSite) -> bool:
    return not sum(site.backlog().values())


@pytest.mark.slow
def test_a_task_of_ten_leases_runs_once_while_two_workers_compete(
    site: CloudflareSite, ledger: str, tmp_path: Path
) -> None:
    start(site, ledger)
    # A worker has room for eight and runs two: some wait for longer than a lease, too.
    site.send("hold", "long", str(tmp_path / "go"), count=6)
    wait_until(lambda: len(site.notes("started")) >= 2, 30, "a worker is busy")
    begun = max(note["at"] for note in site.notes("started"))

    wait_until(lambda: time.time() > begun + 10 * LEASE_S, 60, "ten leases are over")
    assert site.emulator.stats()["redeliveries"] >= 10, "the workers have competed"
    (tmp_path / "go").touch()

    wait_until(lambda: len(site.notes("ended")) >= 6, 60, "all have run")
    wait_until(lambda: nothing_left(site), 30, "all are removed")
    for event in ("started", "ended"):
        assert len({note["id"] for note in site.notes(event)}) == len(site.notes(event)) == 6


@pytest.mark.slow
def test_what_a_killed_worker_held_runs_elsewhere_within_two_leases(
    site: CloudflareSite, ledger: str, tmp_path: Path
) -> None:
    lease = 4.0
    workers = start(site, ledger, visibility_timeout=lease)
    site.send("hold", "orphan", str(tmp_path / "go"))
    (started,) = wait_until(lambda: site.notes("started"), 30, "it runs")
    # Into the second lease, when only the ledger keeps it.
    wait_until(lambda: time.time() > started["at"] + 1.4 * lease, 30, "its lease was renewed")

    worker_of(started, workers).kill()
    killed = time.time()

    wait_until(lambda: len(site.notes("started")) == 2, 30, "it runs elsewhere")
    assert site.notes("started")[1]["at"] - killed <= 2 * lease
    (tmp_path / "go").touch()
    wait_until(lambda: nothing_left(site), 30, "it is done")
    assert len(site.notes("ended")) == 1


@pytest.mark.slow
def test_a_stopped_worker_that_wakes_leaves_its_task_to_who_took_it_over(
    site: CloudflareSite, ledger: str, tmp_path: Path
) -> None:
    workers = start(site, ledger)
    site.send("hold", "frozen", str(tmp_path / "go"))
    (started,) = wait_until(lambda: site.notes("started"), 30, "it runs")
    first = worker_of(started, workers)

    os.killpg(first.child.pid, signal.SIGSTOP)
    wait_until(lambda: len(site.notes("started")) == 2, 30, "the other takes over")
    os.killpg(first.child.pid, signal.SIGCONT)
    wait_until(lambda: "is stopped" in first.log(), 30, "the first stops its task")
    assert site.emulator.stats()["acked"] == 0
    (tmp_path / "go").touch()

    wait_until(lambda: nothing_left(site), 30, "the task is done")
    (ended,) = site.notes("ended")
    assert ended["pid"] == site.notes("started")[1]["pid"]
    assert site.emulator.stats()["acked"] == 1
    # The first goes on with other work.
    site.send("record", "more", count=40)
    wait_until(lambda: len(site.notes("record")) == 40, 30, "both work on")
    assert "Traceback" not in first.log()


@pytest.mark.slow
def test_a_message_outlives_more_leases_than_its_queue_allows_deliveries(
    site: CloudflareSite, tmp_path: Path
) -> None:
    ledger = f"file://{tmp_path}/ledger"
    make_queue(site.emulator, "work", max_retries=4)
    workers = start(site, ledger)
    site.send("hold", "long", str(tmp_path / "go"))
    (started,) = wait_until(lambda: site.notes("started"), 30, "it runs")

    wait_until(lambda: time.time() > started["at"] + 10 * LEASE_S, 60, "ten leases are over")
    worker_of(started, workers).kill()

    wait_until(lambda: len(site.notes("started")) == 2, 30, "it was kept, and runs elsewhere")
    (tmp_path / "go").touch()
    wait_until(lambda: nothing_left(site), 30, "it is done")
    assert [note["id"] for note in site.notes("ended")] == [started["id"]]


@pytest.mark.slow
def test_a_task_whose_ack_got_lost_with_its_worker_is_not_run_again(
    site: CloudflareSite, tmp_path: Path
) -> None:
    ledger = f"file://{tmp_path}/ledger"
    (first,) = start(site, ledger, count=1)
    site.send("hold", "done", str(tmp_path / "go"))
    (started,) = wait_until(lambda: site.notes("started"), 30, "it runs")
    wait_until(lambda: time.time() > started["at"] + LEASE_S, 30, "its lease was renewed")
    site.emulator.faults({"route": "ack", "kind": "500"})
    (tmp_path / "go").touch()
    wait_until(lambda: site.emulator.faults_in_force()[0]["fired"], 30, "its ack is refused")
    first.kill()
    site.emulator.clear_faults()

    start(site, ledger, count=1)

    wait_until(lambda: nothing_left(site), 30, "it is removed")
    assert len(site.notes("started")) == 1


@pytest.mark.slow
def test_a_task_whose_ack_is_refused_for_longer_than_its_lease_runs_once(
    site: CloudflareSite, tmp_path: Path
) -> None:
    start(site, f"file://{tmp_path}/ledger", visibility_timeout=4)
    site.emulator.faults({"route": "ack", "kind": "500"})
    site.send("record", "short")
    (note,) = wait_until(lambda: site.notes("record"), 30, "it runs")
    delivered = site.emulator.stats()["deliveries"]
    assert delivered == 1
    wait_until(lambda: site.emulator.stats()["deliveries"] > 1, 30, "its lease is over")
    site.emulator.clear_faults()

    wait_until(lambda: nothing_left(site), 40, "it is removed")
    assert site.notes("record") == [note]


@pytest.mark.slow
def test_a_task_goes_on_while_the_ledger_is_away(
    site: CloudflareSite, redis_url: str, tmp_path: Path
) -> None:
    # Nobody can tell whose the message is meanwhile: so it waits, and is neither run nor lost.
    ledger = f"file://{tmp_path}/ledger"
    (worker, _other) = start(site, ledger)
    site.send("hold", "long", str(tmp_path / "go"))
    (started,) = wait_until(lambda: site.notes("started"), 30, "it runs")
    wait_until(lambda: list((tmp_path / "ledger").glob("*")), 30, "the ledger has it")

    (tmp_path / "ledger").rename(tmp_path / "away")
    (tmp_path / "ledger").touch()  # no directory can be read or made there
    wait_until(lambda: time.time() > started["at"] + 4 * LEASE_S, 30, "some leases are over")
    (tmp_path / "go").touch()
    wait_until(lambda: site.notes("ended"), 30, "it ends")
    (tmp_path / "ledger").unlink()
    (tmp_path / "away").rename(tmp_path / "ledger")

    wait_until(lambda: nothing_left(site), 40, "it is removed once the ledger is back")
    assert len(site.notes("started")) == 1
    assert "leases wait to be kept" in worker.log() + _other.log()


@pytest.mark.slow
def test_a_running_task_is_kept_and_acked_across_a_reconnect(
    site: CloudflareSite, tmp_path: Path
) -> None:
    options = {"visibility_timeout": LEASE_S, "lease_ledger": f"file://{tmp_path}/ledger"}
    # One that has no other connection, by which what it shares would outlive the reconnect.
    quiet = {"TRANSPORT_EVENTS": "off"}
    worker = site.ready(
        site.worker("-Q", "work,other", "--without-heartbeat", env=quiet, **options)
    )
    site.send("hold", "long", str(tmp_path / "go"))
    wait_until(lambda: site.notes("started"), 30, "it runs")

    with connect(site.emulator) as connection:
        connection.channel().queue_delete("other")
    wait_until(lambda: "can't be pulled from any more" in worker.log(), 30, "it is noticed")
    reconnected = time.time()
    site.send("record", "after")
    wait_until(lambda: site.notes("record"), 30, "the worker has connected again")
    wait_until(lambda: time.time() > reconnected + 3 * LEASE_S, 30, "some leases are over")
    (tmp_path / "go").touch()

    wait_until(lambda: nothing_left(site), 30, "both are removed")
    assert len(site.notes("started")) == len(site.notes("ended")) == 1


def test_a_worker_without_a_ledger_says_what_a_crash_costs(site: CloudflareSite) -> None:
    worker = site.ready(site.worker())
    assert "no lease ledger, so messages are leased for 3600 s" in worker.log()

    # Four messages for each process may wait for each other.
    limited = site.ready(site.worker("--time-limit", "2000"))
    assert "no lease ledger, so messages are leased for 8060 s" in limited.log()

    # It ends nobody's task, so that its limits say nothing.
    threads = site.ready(site.worker("-P", "threads", "--time-limit", "2000"))
    assert "no lease ledger, so messages are leased for 3600 s" in threads.log()


@pytest.mark.slow
def test_a_worker_uses_the_redis_of_its_results(
    site: CloudflareSite, redis_server: RedisServer, tmp_path: Path
) -> None:
    line = Line(redis_server.url.removesuffix("/0"))
    env = {"TRANSPORT_RESULTS": f"redis://127.0.0.1:{line.port}/0"}
    options = {"visibility_timeout": LEASE_S}
    worker = site.ready(site.worker(env=env, **options))
    assert "the result backend's Redis extends leases" in worker.log()
    site.send("hold", "long", str(tmp_path / "go"))
    wait_until(lambda: site.notes("started"), 30, "it runs")
    wait_until(lambda: site.emulator.stats()["redeliveries"] >= 2, 30, "two leases are over")

    line.cut()
    later = site.ready(site.worker("-P", "threads", "-c", "4", env=env, **options))
    assert "the result backend's Redis does not answer" in later.log()
    assert "no lease ledger" not in later.log()
    site.send("record", "fresh")
    wait_until(lambda: site.notes("record"), 30, "what is surely nobody's runs")
    worker.term()  # it ends its task, and takes no copy of it any more
    wait_until(lambda: "waits: lease ledger in Redis" in later.log(), 30, "a copy came to it")
    line.mend()
    (tmp_path / "go").touch()
    wait_until(lambda: nothing_left(site), 30, "it is done")
    line.close()
    assert len(site.notes("started")) == 1
    assert "Traceback" not in later.log()


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
def test_a_task_that_outlasts_its_lease_runs_once_in_one_worker_without_a_ledger(
    site: CloudflareSite, tmp_path: Path, pool: str
) -> None:
    options = {"visibility_timeout": LEASE_S, "lease_ledger": "none"}
    # One place in the prefetch is left to pull copies by.
    site.send("hold", "long", str(tmp_path / "go"), count=3)
    site.ready(site.worker("-P", pool, "-c", "1", **options))
    wait_until(lambda: site.emulator.stats()["redeliveries"] >= 3, 30, "leases are over")
    (tmp_path / "go").touch()

    wait_until(lambda: nothing_left(site), 30, "all are done")
    assert len(site.notes("started")) == len(site.notes("ended")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
def test_what_waited_in_a_frozen_worker_for_longer_than_its_lease_does_not_start_there(
    site: CloudflareSite, tmp_path: Path, pool: str
) -> None:
    options = {"visibility_timeout": LEASE_S, "lease_ledger": "none"}
    site.send("hold", "running", str(tmp_path / "go"))
    frozen = site.ready(site.worker("-P", pool, "-c", "1", **options))
    wait_until(lambda: site.notes("started"), 30, "it runs")
    site.send("hold", "waiting", str(tmp_path / "go"), count=2)
    wait_until(lambda: site.emulator.stats()["leases_outstanding"] == 3, 30, "the others wait")

    os.killpg(frozen.child.pid, signal.SIGSTOP)
    site.ready(site.worker("-P", "threads", "-c", "3", **options))
    wait_until(lambda: len(site.notes("started")) == 4, 30, "all run elsewhere")
    (tmp_path / "go").touch()
    wait_until(lambda: nothing_left(site), 30, "all are done")
    os.killpg(frozen.child.pid, signal.SIGCONT)
    wait_until(lambda: "does not start here" in frozen.log(), 30, "it lets them go")
    site.send("record", "after", count=10)
    wait_until(lambda: len(site.notes("record")) == 10 and nothing_left(site), 30, "it goes on")

    waited = [note for note in site.notes("started") if note["value"] == "waiting"]
    assert len(waited) == 2, "each started once"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_message_with_a_longer_limit_of_its_own_is_leased_for_longer(
    site: CloudflareSite, pool: str
) -> None:
    worker = site.ready(site.worker("-P", pool, "--time-limit", "60", lease_ledger="none"))
    site.send("record", "short")
    site.send("record", "long", time_limit=5000)
    wait_until(lambda: len(site.notes("record")) == 2, 30, "both run")
    grown = "are leased for 5060 s from now on" in worker.log()
    assert grown == (pool == "prefork"), "threads end no task"


def test_an_r2_bucket_that_the_api_token_opens_is_the_ledger(
    site: CloudflareSite, s3_url: str
) -> None:
    site.broker |= {"R2_ENDPOINT_URL": s3_url}
    without = site.ready(site.worker())
    assert "there is no lease ledger" in without.log()

    key_id, secret = token_keys("e" * 32, site.emulator.api_token)
    assert secret == hashlib.sha256(site.emulator.api_token.encode()).hexdigest()
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="celery-leases")
    try:
        worker = site.ready(site.worker())
        assert "the R2 bucket celery-leases extends leases" in worker.log()
        assert secret not in worker.log()
    finally:
        for found in client.list_objects_v2(Bucket="celery-leases").get("Contents", ()):
            client.delete_object(Bucket="celery-leases", Key=found["Key"])
        client.delete_bucket(Bucket="celery-leases")


def make_queue(emulator: EmulatorProcess, name: str, max_retries: int) -> None:
    """Make a queue as people do, whose consumer drops what was delivered too often."""
    with connect(emulator) as connection:
        client = connection.channel().session.client
        deadline = time.monotonic() + 10
        queue = client.create_queue(name, deadline)
        settings = {"max_retries": max_retries}
        client.create_consumer(
            queue["queue_id"], {"type": "http_pull", "settings": settings}, deadline
        )
