"""What Celery promises of a task's end, on Cloudflare Queues as on Redis."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fork_server import run_python
from tests.support.site import EVERYWHERE
from tests.support.transport import CloudflareSite, Site, WorkerProcess, wait_until

#: A lease that no test waits for, seconds.
LONG = 3600

#: A lease that a test waits for, seconds.
SHORT = 3

CANVAS = """
import json, sys
from celery import chain, chord, group
from tests.support.semantics_app import add, total
kind = sys.argv[1]
if kind == "task":
    result = add.delay(1, 2)
elif kind == "chain":
    result = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
elif kind == "group":
    result = group(add.s(n, n) for n in range(20)).apply_async()
else:
    result = chord((add.s(n, n) for n in range(20)), total.s()).apply_async()
print(json.dumps(result.get(timeout=60)))
"""


@pytest.fixture
def site(site: Site) -> Site:
    site.app = "tests.support.semantics_app"
    return site


def started(site: Site) -> int:
    return len(site.notes("started"))


def all_gone(site: Site, seconds: float = 20) -> None:
    wait_until(lambda: site.held() == 0, seconds, "the broker has no message left")


@pytest.mark.slow
def test_late_acks_survive_a_killed_worker_and_early_acks_do_not(
    site: Site, tmp_path: Path
) -> None:
    first = site.ready(site.worker(visibility_timeout=SHORT))
    site.send("hold_early", "early", str(tmp_path / "go"))
    wait_until(lambda: started(site) == 1, what="the early one runs")
    all_gone(site)
    site.send("hold", "late", str(tmp_path / "go"))
    wait_until(lambda: started(site) == 2, what="the late one runs")
    assert site.held() == 1

    first.kill()
    time.sleep(SHORT)  # Redis looks for what is past its time at a worker's start, then rarely
    site.ready(site.worker(visibility_timeout=SHORT))
    wait_until(lambda: started(site) == 3, what="the late one runs elsewhere")
    (tmp_path / "go").touch()

    all_gone(site)
    assert [note["value"] for note in site.notes("started")] == ["early", "late", "late"]
    assert [note["value"] for note in site.notes("ended")] == ["late"]
    assert site.notes("started")[2]["redelivered"]


@pytest.mark.parametrize("task", ["fail_and_ack", "hang_and_ack", "die"])
def test_what_failed_is_gone(site: Site, task: str) -> None:
    site.ready(site.worker(visibility_timeout=LONG))
    site.send(task, "x")

    wait_until(lambda: started(site) == 1, what="it started")
    all_gone(site)
    site.send("record", "after")
    wait_until(lambda: site.notes("record"), 30, "the worker goes on")
    all_gone(site)
    assert started(site) == 1


@pytest.mark.parametrize(("task", "args"), [("fail_and_reject", ()), ("reject_once", (False,))])
def test_what_is_rejected_is_a_dead_letter(site: Site, task: str, args: tuple[Any, ...]) -> None:
    """Redis has none; RabbitMQ has where the queue has a dead-letter exchange."""
    site.ready(site.worker(visibility_timeout=LONG))
    site.send(task, "x", *args)
    dead = {"work": 0, "work-dead": 1}
    if isinstance(site, CloudflareSite):
        wait_until(lambda: site.backlog() == dead, what="it is a dead letter")
    else:
        wait_until(lambda: started(site) == 1, what="it started")
        all_gone(site)

    site.send("record", "after")
    wait_until(lambda: site.notes("record"), 30, "the worker goes on")
    assert started(site) == 1


@pytest.mark.slow
def test_a_timeout_that_must_not_be_acked_comes_again(site: Site) -> None:
    """Celery settles it in no way; on RabbitMQ too it stays with the worker until that goes."""
    first = site.ready(site.worker(visibility_timeout=LONG))
    site.send("hang_once", "x")
    wait_until(lambda: "Hard time limit" in first.log(), what="the limit is passed")
    assert site.held() == 1

    first.term()
    assert first.child.wait(20) == 0
    site.ready(site.worker(visibility_timeout=LONG))

    wait_until(lambda: site.notes("ended"), what="it ran again")
    all_gone(site)
    assert started(site) == 2


def test_a_soft_limit_lets_the_task_tidy_up(site: Site) -> None:
    site.ready(site.worker(visibility_timeout=LONG))
    site.send("hang_softly", "x")

    wait_until(lambda: site.notes("tidied"), what="it tidied up")
    all_gone(site)
    assert started(site) == 1


def test_a_task_whose_process_was_lost_runs_again_at_once(site: Site) -> None:
    site.ready(site.worker(visibility_timeout=LONG))
    site.send("die_once", "x")

    wait_until(lambda: site.notes("ended"), what="it ran again")
    all_gone(site)
    assert started(site) == 2
    assert [bool(note["redelivered"]) for note in site.notes("started")] == [False, True]


def test_a_rejected_message_comes_again_if_it_is_to(site: Site) -> None:
    site.ready(site.worker(visibility_timeout=LONG))
    site.send("reject_once", "x", True)

    wait_until(lambda: started(site) == 2, what="it ran again")
    all_gone(site)
    assert started(site) == 2
    assert len(site.notes("ended")) == 1


def test_a_retry_runs_after_its_countdown(site: Site) -> None:
    site.ready(site.worker(visibility_timeout=LONG))
    site.send("flaky", "x", 2, 1.5)

    wait_until(lambda: len(site.notes("try")) == 3, what="the third try")
    all_gone(site)
    at = [note["at"] for note in site.notes("try")]
    assert all(later - earlier >= 1.5 for earlier, later in itertools.pairwise(at))


def test_what_has_expired_is_not_run_and_gone(site: Site) -> None:
    site.send("record", "stale", expires=0.5)
    site.send("record", "fresh", expires=600)
    time.sleep(0.5)  # the stale one's time

    site.ready(site.worker(visibility_timeout=LONG))

    all_gone(site)
    wait_until(lambda: site.notes("record"), what="the fresh one has run")
    assert [note["value"] for note in site.notes("record")] == ["fresh"]


def test_an_ignored_task_is_gone(site: Site) -> None:
    site.ready(site.worker(visibility_timeout=LONG))
    site.send("ignore", "x")

    wait_until(lambda: started(site) == 1, what="it ran")
    all_gone(site)
    assert started(site) == 1


# --- results


@pytest.fixture(params=["sqlite", "redis"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"db+sqlite:///{tmp_path / 'results.db'}"


def run(site: Site, env: dict[str, str], kind: str) -> Any:
    """What a canvas returns to a process of its own."""
    ran = run_python("-c", CANVAS, kind, env={**site.env(), **env}, check=True, timeout=90)
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_canvases_return_their_results(site: Site, results: str) -> None:
    env = {"TRANSPORT_RESULTS": results}
    site.ready(site.worker(env=env, visibility_timeout=LONG))

    assert run(site, env, "task") == 3
    assert run(site, env, "chain") == 10
    assert run(site, env, "group") == [2 * n for n in range(20)]
    assert run(site, env, "chord") == 380
    all_gone(site)


@pytest.mark.slow
@pytest.mark.parametrize("site", EVERYWHERE, indirect=True)
def test_results_come_back_by_the_broker_alone(site: Site) -> None:
    env = {"TRANSPORT_RESULTS": "rpc://"}
    site.ready(site.worker(env=env, visibility_timeout=LONG))

    assert run(site, env, "task") == 3
    assert run(site, env, "group") == [2 * n for n in range(20)]
    all_gone(site)


# --- shutdown


def quit_(worker: WorkerProcess) -> None:
    worker.child.send_signal(signal.SIGQUIT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "ask", "env", "unfinished"),
    [
        pytest.param("cloudflare", WorkerProcess.term, {}, 0, id="warm"),
        pytest.param("redis", WorkerProcess.term, {}, 0, id="warm-redis"),
        # Of a worker that is killed, kombu's Redis transport leaves a message now and then.
        pytest.param("cloudflare", quit_, {}, 2, id="cold"),
        pytest.param(
            "cloudflare", WorkerProcess.term, {"REMAP_SIGTERM": "SIGQUIT"}, 2, id="remapped"
        ),
        pytest.param(
            "cloudflare",
            quit_,
            {"TRANSPORT_CONF": json.dumps({"worker_soft_shutdown_timeout": 2})},
            2,
            id="soft",
        ),
    ],
    indirect=["site"],
)
def test_a_shutdown_leaves_no_message_behind_a_lease(
    site: Site,
    tmp_path: Path,
    ask: Callable[[WorkerProcess], None],
    env: dict[str, str],
    unfinished: int,
) -> None:
    """Two of sixty tasks run, about thirty are prefetched; `unfinished` of the two are killed."""
    first = site.ready(
        site.worker(env={"TRANSPORT_PREFETCH": "16", **env}, visibility_timeout=LONG)
    )
    ids = [str(number) for number in range(60)]
    site.send_each("hold_at_site", ids, 4)
    wait_until(lambda: started(site) == 2, what="two tasks run")

    ask(first)
    if not unfinished:
        (tmp_path / "go").touch()
    first.child.wait(30)
    assert len(site.notes("ended")) == 2 - unfinished
    assert site.held() == 58 + unfinished
    (tmp_path / "go").touch()
    site.ready(site.worker(env={"TRANSPORT_PREFETCH": "16"}, visibility_timeout=LONG))

    wait_until(lambda: len(site.notes("ended")) == 60, what="the other worker has run all")
    all_gone(site)
    assert started(site) == 60 + unfinished
