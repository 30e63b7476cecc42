"""Real Celery workers, as processes, over the emulator."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.transport import CloudflareSite, connect, make_site, wait_until


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def test_a_worker_runs_tasks_and_retries_and_leaves_nothing_behind(site: CloudflareSite) -> None:
    worker = site.ready(site.worker())
    site.send("record", "plain", count=20)
    site.send("flaky", "again", 2)

    wait_until(lambda: len(site.notes("record")) == 20, what="twenty tasks ran")
    wait_until(lambda: len(site.notes("try")) == 3, what="the third try")
    wait_until(lambda: site.emulator.stats()["acked"] == 23, what="all are acked")
    worker.term()

    assert worker.child.wait(20) == 0
    assert [note["retries"] for note in site.notes("try")] == [0, 1, 2]
    assert not any(note["redelivered"] for note in site.notes("record"))
    assert site.emulator.stats()["leases_outstanding"] == 0
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_pool_drains_a_backlog_in_few_calls(site: CloudflareSite, pool: str) -> None:
    site.send("nothing", count=200)
    worker = site.worker("-P", pool, env={"TRANSPORT_PREFETCH": "32"})

    wait_until(lambda: site.emulator.stats()["acked"] == 200, 40, "all are acked")
    calls = site.emulator.stats()["calls"]
    worker.term()
    worker.child.wait(20)

    assert sum(calls["pull"].values()) + sum(calls["ack"].values()) <= 40
    assert site.emulator.stats()["redeliveries"] == 0


def test_events_that_nobody_listens_to_are_not_sent(site: CloudflareSite) -> None:
    worker = site.ready(site.worker("-E"))
    site.send("record", "x", count=10)
    wait_until(lambda: site.emulator.stats()["acked"] == 10, what="all are acked")

    stats = site.emulator.stats()
    assert stats["published"] == 10
    assert stats["calls"]["list"]["200"] <= 3  # the worker's, its events', and the sender's
    assert sum(stats["messages"].values()) == 0
    assert worker.child.poll() is None
    assert "ERROR" not in worker.log()


def test_a_killed_worker_leaves_the_message_to_another(
    site: CloudflareSite, tmp_path: Path
) -> None:
    first = site.ready(site.worker(visibility_timeout=2))
    site.send("hold", "video", str(tmp_path / "go"))
    wait_until(lambda: site.notes("started"), what="the task started")
    first.kill()
    site.ready(site.worker(visibility_timeout=30))
    wait_until(lambda: len(site.notes("started")) == 2, 30, "it started elsewhere")
    (tmp_path / "go").touch()
    wait_until(lambda: site.emulator.stats()["acked"] == 1, what="it is acked")

    one, other = site.notes("started")
    assert one["id"] == other["id"]
    assert not one["redelivered"]
    assert other["redelivered"]
    assert len(site.notes("ended")) == 1


def test_a_warm_shutdown_returns_at_once_what_was_not_started(
    site: CloudflareSite, tmp_path: Path
) -> None:
    worker = site.ready(site.worker())
    site.send("hold", "x", str(tmp_path / "go"), count=8)
    wait_until(lambda: len(site.notes("started")) == 2, what="two tasks run")
    wait_until(
        lambda: site.emulator.stats()["leases_outstanding"] == 8, what="the others are prefetched"
    )

    worker.term()

    # while the two still run
    wait_until(
        lambda: site.emulator.stats()["leases_outstanding"] == 2, 10, "six have been returned"
    )
    assert site.notes("ended") == []
    (tmp_path / "go").touch()
    assert worker.child.wait(20) == 0
    stats = site.emulator.stats()
    assert stats["acked"] == 2
    assert stats["retried"] == 6
    assert site.backlog() == {"work": 6}


def test_a_cold_shutdown_returns_at_once_what_it_killed(
    site: CloudflareSite, tmp_path: Path
) -> None:
    worker = site.ready(site.worker())
    site.send("hold", "x", str(tmp_path / "go"), count=4)
    wait_until(lambda: len(site.notes("started")) == 2, what="two tasks run")

    worker.child.send_signal(signal.SIGQUIT)

    worker.child.wait(20)
    stats = site.emulator.stats()
    assert stats["leases_outstanding"] == 0
    assert site.backlog() == {"work": 4}


def test_a_worker_reconnects_when_its_queue_was_deleted(site: CloudflareSite) -> None:
    worker = site.ready(site.worker())
    site.send("record", "before")
    wait_until(lambda: site.notes("record"), what="a task ran")

    with connect(site.emulator) as connection:
        connection.channel().queue_delete("work")
    wait_until(lambda: "can't be pulled from any more" in worker.log(), what="it is noticed")
    site.send("record", "after")

    wait_until(lambda: len(site.notes("record")) == 2, 30, "a task ran on the new queue")
    wait_until(lambda: site.backlog() == {"work": 0}, what="and is acked")
    worker.term()
    assert worker.child.wait(20) == 0


def test_a_worker_outlives_an_outage_and_acks_what_it_finished_meanwhile(
    site: CloudflareSite, tmp_path: Path
) -> None:
    worker = site.ready(site.worker())
    site.send("hold", "x", str(tmp_path / "go"))
    wait_until(lambda: site.notes("started"), what="the task started")

    site.emulator.kill()
    (tmp_path / "go").touch()
    wait_until(lambda: site.notes("ended"), what="the task ended during the outage")
    wait_until(lambda: "pulling from" in worker.log(), what="the outage is noticed")
    site.emulator.start()
    site.send("record", "after")

    wait_until(lambda: site.notes("record"), 40, "a task after the outage")
    wait_until(lambda: site.emulator.stats()["acked"] == 2, 20, "both are acked")
    assert len(site.notes("started")) == 1


@pytest.mark.slow
def test_a_worker_waits_for_the_api_and_connects_when_it_comes(site: CloudflareSite) -> None:
    site.emulator.stop()
    worker = site.worker()
    wait_until(lambda: "Cannot connect to cloudflare://" in worker.log(), 40, "it says why not")
    site.emulator.start()
    site.ready(worker)
    site.send("record", "x")
    wait_until(lambda: site.notes("record"), what="a task ran")


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("CLOUDFLARE_API_TOKEN", "an-0ther-t0ken", "Cloudflare refused the API token"),
        ("CLOUDFLARE_ACCOUNT_ID", "f" * 32, f"for account '{'f' * 32}'"),
    ],
)
def test_wrong_credentials_are_one_line_of_the_workers_log(
    site: CloudflareSite, variable: str, value: str, line: str
) -> None:
    worker = site.worker(env={variable: value})
    wait_until(lambda: "Cannot connect to cloudflare://" in worker.log(), 40, "it says why not")

    (complaint, *_) = [text for text in worker.log().splitlines() if "Cannot connect" in text]
    assert line in complaint
    assert "an-0ther-t0ken" not in worker.log()
    assert "Traceback" not in worker.log()
    assert worker.child.poll() is None


def test_a_missing_token_ends_the_worker_and_names_the_variable(site: CloudflareSite) -> None:
    worker = site.worker(env={"CLOUDFLARE_API_TOKEN": ""})

    assert worker.child.wait(40) != 0
    assert "CLOUDFLARE_API_TOKEN missing" in worker.log()


def test_a_queue_that_may_not_be_created_ends_the_worker_with_the_commands(
    site: CloudflareSite,
) -> None:
    worker = site.worker(create_missing_queues=False)

    assert worker.child.wait(40) != 0
    assert "npx wrangler queues create work && npx wrangler queues consumer http" in worker.log()


def test_tasks_publish_subtasks_from_the_pools_processes(site: CloudflareSite) -> None:
    site.ready(site.worker("--max-tasks-per-child", "2"))
    site.send("spread", "s", 5, count=4)

    wait_until(lambda: len(site.notes("record")) == 20, 30, "twenty subtasks ran")
    wait_until(lambda: site.emulator.stats()["acked"] == 24, what="all are acked")
    assert site.emulator.stats()["refused"] == 0


def test_no_secret_is_in_a_workers_debug_log(site: CloudflareSite) -> None:
    worker = site.ready(site.worker("-l", "DEBUG"))
    site.emulator.faults({"route": "pull", "kind": "500", "count": 1})
    site.send("record", "x")
    wait_until(lambda: site.notes("record"), what="the task ran")
    worker.term()
    worker.child.wait(20)

    assert "httpcore" in worker.log() or "DEBUG" in worker.log()
    assert site.emulator.api_token not in worker.log()


@pytest.mark.slow
def test_nothing_is_lost_and_duplicates_share_an_id_when_answers_are_dropped(
    site: CloudflareSite,
) -> None:
    """A twentieth of all answers is dropped after the work was done."""
    site.emulator.faults({"route": "*", "kind": "drop_after", "probability": 0.05, "seed": 7})
    site.ready(site.worker(visibility_timeout=3))
    site.ready(site.worker(visibility_timeout=3))
    for group in range(4):
        site.send("record", group, count=50)

    def ids() -> set[str]:
        return {note["id"] for note in site.notes("record")}

    wait_until(lambda: len(ids()) == 200, 60, "each task ran")
    site.emulator.clear_faults()
    wait_until(lambda: site.backlog() == {"work": 0}, 30, "all are acked")

    assert len(ids()) == 200
    assert len(site.notes("record")) >= 200
