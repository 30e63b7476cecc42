"""A stranger's app whose workers are killed, frozen and restarted at random, here and on Redis.

The transport's lease is what Celery's users set on Redis too: `visibility_timeout`, so that what a
killed worker held runs again while the test waits for it. Nothing else is set.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import chord

from tests.support.emulator import EmulatorProcess
from tests.support.processes import wait_for
from tests.support.redis import RedisServer
from tests.support.transport import CloudflareSite, RedisSite, Site, WorkerProcess

#: Seconds of a lease; longer than any task with what waits before it, and than any freeze.
LEASE_S = 20.0
#: Seconds between two things that happen to a worker, and for which one is frozen.
HARM_S, FREEZE_S = (5.0, 12.0), (1.0, 5.0)
#: Tasks that are sent in five minutes, and seconds in which all has run after the last.
TASKS, REST_S = 2_000, 180.0
#: Seconds of the short run, beside all the other tests.
SHORT_S = 20.0
KINDS = ("early", "late", "eta", "retry", "chord", "topic", "priority")


@dataclass
class Run:
    """What was sent and done to whom."""

    sent: dict[str, str] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    killed: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    frozen: int = 0
    stopped: int = 0


def send(app: Any, tasks: Any, dice: random.Random, run: Run) -> int:
    """Send a task, or a chord, of some kind; return how many tasks that makes."""
    kind, seconds = dice.choice(KINDS), dice.uniform(0, 0.1)
    match kind:
        case "eta":
            result = tasks.early.apply_async((seconds,), countdown=dice.uniform(1, 8))
        case "retry":
            failures = dice.randint(1, 2)
            result = tasks.retry.delay(seconds, failures)
            run.failures[result.id] = failures
        case "chord":
            numbers = range(dice.randint(2, 6))
            run.totals.append(sum(numbers))
            chord([tasks.part.s(number) for number in numbers])(tasks.total.s())
            return len(numbers) + 1
        case "topic":
            result = tasks.late.apply_async(
                (seconds,), exchange=tasks.news, routing_key="news.x", declare=[tasks.news]
            )
        case "priority":
            result = tasks.late.apply_async((seconds,), priority=5)
        case _:
            result = getattr(tasks, kind).delay(seconds)
    run.sent[result.id] = kind
    return 1


def live(site: Site, tasks: Any, pool: str, seconds: float, dice: random.Random) -> Run:
    """Send tasks and harm workers for so long."""
    run = Run()
    workers = [site.ready(start(site, pool)) for _ in range(2)]
    end, began, count = time.monotonic() + seconds, time.monotonic(), 0
    harm_at = time.monotonic() + dice.uniform(*HARM_S)
    thaw: list[tuple[float, WorkerProcess]] = []
    while time.monotonic() < end:
        count += send(tasks.app, tasks, dice, run)
        if time.monotonic() > harm_at:
            harm(site, pool, workers, thaw, dice, run)
            harm_at = time.monotonic() + dice.uniform(*HARM_S)
        for at, worker in list(thaw):
            if time.monotonic() > at:
                signal_all(worker, signal.SIGCONT)
                thaw.remove((at, worker))
        due = began + count * 300 / TASKS
        time.sleep(max(0.0, min(due, end) - time.monotonic()))
    for _, worker in thaw:
        signal_all(worker, signal.SIGCONT)
    return run


def start(site: Site, pool: str) -> WorkerProcess:
    env = {"TRANSPORT_RESULTS": os.environ["TRANSPORT_RESULTS"]}
    return site.worker("-P", pool, env=env, visibility_timeout=LEASE_S)


def harm(
    site: Site,
    pool: str,
    workers: list[WorkerProcess],
    thaw: list[tuple[float, WorkerProcess]],
    dice: random.Random,
    run: Run,
) -> None:
    """Kill, stop or freeze a worker that is not frozen; start another for one that is gone."""
    whole = [worker for worker in workers if worker not in [each for _, each in thaw]]
    if not whole:
        return
    worker, how = dice.choice(whole), dice.random()
    if how < 0.4:
        signal_all(worker, signal.SIGSTOP)
        thaw.append((time.monotonic() + dice.uniform(*FREEZE_S), worker))
        run.frozen += 1
        return
    workers.remove(worker)
    if how < 0.8:
        run.killed[worker.child.pid].append(time.time())
        worker.kill()
    else:
        worker.term()
        run.stopped += 1
    workers.append(start(site, pool))


def signal_all(worker: WorkerProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.child.pid, number)


def check(site: Site, run: Run) -> None:
    """Show what ran, and fail for what did not, or ran again though nobody died."""
    starts: defaultdict[tuple[str, int, str], list[dict[str, Any]]] = defaultdict(list)
    for each in site.notes("started"):
        starts[each["id"], each["try"], str(each["queue"])].append(each)
    ended = Counter(each["id"] for each in site.notes("ended"))
    wrong: list[str] = []
    again = 0
    for task_id, kind in run.sent.items():
        wanted = run.failures.get(task_id, 0) + 1 if kind == "retry" else 1
        wanted *= 2 if kind == "topic" else 1
        ran = [notes for key, notes in starts.items() if key[0] == task_id]
        if sum(map(len, ran)) < wanted or (
            kind not in ("early", "eta") and ended[task_id] < wanted
        ):
            wrong.append(f"{kind} {task_id} is lost: {ran}")
    for (task_id, _, _), notes in starts.items():
        kind = run.sent.get(task_id, "part")
        times = 2 if kind == "topic" else 1  # one for each queue; the key is the same
        first = sorted(notes, key=lambda note: float(note["at"]))
        for one, other in zip(first, first[times:], strict=False):
            again += 1
            if not any(each["worker"] in run.killed for each in first):
                wrong.append(f"{kind} {task_id} ran again though nobody died: {one} {other}")
    totals = Counter(each["total"] for each in site.notes("total"))
    lost = Counter(run.totals) - totals
    if lost:
        wrong.append(f"chords without an end: {lost}")
    print(
        f"{len(run.sent)} tasks and {len(run.totals)} chords; {len(run.killed)} workers killed, "
        f"{run.frozen} times one frozen, {run.stopped} stopped; {again} runs again after a death"
    )
    assert not wrong, "\n".join(wrong)


@pytest.fixture(params=["cloudflare", "redis"])
def site(
    request: pytest.FixtureRequest,
    make_emulator: Callable[..., EmulatorProcess],
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    site: Site
    if request.param == "cloudflare":
        emulator = make_emulator()
        site = CloudflareSite(emulator, tmp_path)
    else:
        site = RedisSite(redis_server.url, tmp_path)
    site.app = "tests.soak.stranger"
    for name, value in {
        **site.broker,
        "TRANSPORT_RESULTS": redis_server.url.removesuffix("/0") + "/1",
        "TRANSPORT_LOG": str(site.notes_file),
        "TRANSPORT_OPTIONS": f'{{"visibility_timeout": {LEASE_S}}}',
    }.items():
        monkeypatch.setenv(name, value)
    yield site
    site.close()


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "eventlet", "solo"])
def test_a_stranger_s_app_loses_nothing_and_repeats_nothing(
    site: Site, pool: str, seconds: float, dice: random.Random
) -> None:
    run_and_check(site, pool, seconds, dice)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_third_of_a_minute_of_a_stranger_s_app(
    site: Site, pool: str, dice: random.Random
) -> None:
    run_and_check(site, pool, SHORT_S, dice)


def run_and_check(site: Site, pool: str, seconds: float, dice: random.Random) -> None:
    import importlib
    import sys

    sys.modules.pop("tests.soak.stranger", None)
    tasks = importlib.import_module("tests.soak.stranger")
    with tasks.app:
        run = live(site, tasks, pool, seconds, dice)
        wait_for(lambda: all_done(site, run), REST_S, "all is done")
    time.sleep(1)  # in which what runs twice would be seen
    check(site, run)


def all_done(site: Site, run: Run) -> bool:
    """Whether no message is left."""
    return site.held() == 0 and len(site.notes("total")) >= len(run.totals)
