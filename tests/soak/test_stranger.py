"""A stranger's app whose workers are killed, frozen and restarted at random, here and on Redis.

The app sets nothing but its URLs, so what a killed worker held comes back after a lease: five
minutes here, where the results' Redis keeps the lease ledger, and an hour on Redis. The first is
waited for. The second is cut short as soon as only the dead hold messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import python
from tests.support.redis import RedisServer
from tests.support.transport import CloudflareSite, RedisSite, Site, WorkerProcess

POOLS = ("prefork", "threads", "solo", "gevent", "eventlet")
#: Tasks that are sent in a second: 2,000 in five minutes.
RATE = 2_000 / 300
#: Seconds between two things that happen to a worker, and for which one is frozen.
HARM_S, FREEZE_S = (5.0, 12.0), (1.0, 5.0)
#: Seconds in which all has run after the last task: two leases, and some.
REST_S = 720.0
#: Seconds in which an ack is surely with the broker on a busy machine, if its worker isn't frozen.
ACK_S = 5.0
#: Seconds for which Redis has to be still before what is taken counts as a dead
#: worker's; longer than an `eta`, which waits in a worker there.
STILL_S = 10.0
#: Seconds after which a chord's end does not come any more, if no broker has a message.
LOST_S = 60.0
#: Seconds of the short run, and of its leases: set as one sets them for Redis, since CI won't wait.
SHORT_S, SHORT_LEASE_S = 60.0, 20.0


@dataclass
class Run:
    """A site, its workers, and what was done to them."""

    site: Site
    pool: str
    options: dict[str, Any]
    dice: random.Random
    whole: list[WorkerProcess] = field(default_factory=list)
    frozen: list[tuple[float, WorkerProcess]] = field(default_factory=list)
    killed: dict[int, float] = field(default_factory=dict)
    dead: list[WorkerProcess] = field(default_factory=list)
    freezes: list[tuple[int, float, float]] = field(default_factory=list)
    stops: int = 0
    rest_s: float = 0.0

    def start(self) -> WorkerProcess:
        """Start a worker, with all that a worker does by default."""
        worker = self.site.worker("-P", self.pool, sociable=True, **self.options)
        self.whole.append(worker)
        return worker

    def live(self, seconds: float) -> None:
        """Have tasks sent and workers harmed for so long, then wait until all is done."""
        for worker in [self.start(), self.start()]:
            self.site.ready(worker)
        told = [str(seconds), str(round(seconds * RATE)), str(self.dice.random())]
        with (self.site.directory / "web.log").open("wb") as out:
            env = self.site.env(**self.options)
            web = python("-m", "tests.soak.stranger_web", *told, env=env, stdout=out, stderr=out)
        end, harm_at = time.monotonic() + seconds, time.monotonic() + self.dice.uniform(*HARM_S)
        while time.monotonic() < end:
            if time.monotonic() > harm_at:
                self.harm()
                harm_at = time.monotonic() + self.dice.uniform(*HARM_S)
            self.thaw(time.monotonic())
            time.sleep(0.1)
        self.thaw(float("inf"))
        code = web.wait(60)
        assert code == 0, (self.site.directory / "web.log").read_text()
        self.rest()

    def harm(self) -> None:
        """Freeze, kill or stop a worker that is not frozen; start another for one that is gone."""
        if not self.whole:
            return
        worker, how = self.dice.choice(self.whole), self.dice.random()
        self.whole.remove(worker)
        if how < 0.4:
            signal_all(worker, signal.SIGSTOP)
            seconds = self.dice.uniform(*FREEZE_S)
            self.frozen.append((time.monotonic() + seconds, worker))
            self.freezes.append((worker.child.pid, time.time(), seconds))
            return
        if how < 0.8:
            self.killed[worker.child.pid] = time.time()
            self.dead.append(worker)
            worker.kill()
        else:
            worker.term()
            self.stops += 1
        self.start()

    def thaw(self, now: float) -> None:
        """Let those go on whose time has come."""
        for at, worker in list(self.frozen):
            if now > at:
                signal_all(worker, signal.SIGCONT)
                self.frozen.remove((at, worker))
                self.whole.append(worker)

    def rest(self) -> None:
        """Return once no message is left and each chord has its end, or it has taken too long."""
        began = still_since = time.monotonic()
        seen: object = None
        while (held := self.site.held()) or not self.has_ends():
            self.rest_s = time.monotonic() - began
            looks = held, len(self.site.notes("started"))
            if looks != seen:
                seen, still_since = looks, time.monotonic()
            still_s = time.monotonic() - still_since
            if self.rest_s > REST_S or (not held and still_s > LOST_S):
                return
            if still_s > STILL_S and isinstance(self.site, RedisSite) and held == self.site.taken():
                self.site.give_back()
            time.sleep(0.5)
        time.sleep(2)  # in which what runs twice would be seen

    def has_ends(self) -> bool:
        chords = {note["id"] for note in self.site.notes("sent") if note["kind"] == "total"}
        return chords <= {note["id"] for note in self.site.notes("total")}

    def __str__(self) -> str:
        return f"{type(self.site).__name__.removesuffix('Site')}, {self.pool}"


def signal_all(worker: WorkerProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.child.pid, number)


def check(run: Run) -> list[str]:
    """Show what ran, and return what did not, or ran again though Celery promises that it does not.

    Celery promises on Redis that a task which is acknowledged late runs again only if its worker
    was killed before the ack was sent, that one which is acknowledged early starts at most once
    but for the same time, and that it may be lost if its worker was killed when it had it already.
    A try that ran twice may send the next try, and a chord's part its end, twice.

    Redis itself promises less: it may lose the message that a killed worker was just taking, and
    takes the two copies of a message to two queues for one: the ack of one removes both, and a
    return of one may return it twice. What follows is counted, and no fault.
    """
    sent = {note["id"]: note for note in run.site.notes("sent")}
    starts, ends = by_try(run.site.notes("started")), by_try(run.site.notes("ended"))
    on_redis = isinstance(run.site, RedisSite)
    logs = [worker.log() for worker in run.dead]
    wrong: list[str] = []
    lost: dict[str, str] = {}
    again: dict[str, int] = {}
    given_up = 0

    def extra(task_id: str, number: int, times: int) -> int:
        """Return how often a try ran too often; add to `wrong` what no death excuses."""
        ran = starts[task_id, number]
        excused = sum(died_with(run, start, ends[task_id, number]) for start in ran[:-1])
        excused += sum(again.get(each, 0) for each in (task_id, *sent[task_id].get("parts", ())))
        if len(ran) - times > excused and not (on_redis and times == 2):
            wrong.append(f"{sent[task_id]['kind']} {task_id} ran again though nobody died: {ran}")
        return max(0, len(ran) - times)

    for task_id, note in sent.items():  # a chord's parts come before its end
        kind, times = note["kind"], 2 if note["kind"] == "topic" else 1
        for number in range(note.get("failures", 0) + 1):
            ran, ended = starts[task_id, number], ends[task_id, number]
            if kind in ("early", "eta"):
                if not ran and any(f"[{task_id}] received" in log for log in logs):
                    given_up += 1
                elif not ran:
                    lost[task_id] = f"{kind} {task_id} is lost"
            elif len(ended) < times:
                lost[task_id] = f"{kind} {task_id} is lost: {ran}, {ended}"
            again[task_id] = again.get(task_id, 0) + extra(task_id, number, times)
    if on_redis and run.killed:
        single = [each for each in lost if sent[each]["kind"] != "topic"]
        wrong += [lost[each] for each in single[len(run.killed) :]]
    else:
        wrong += lost.values()
    if held := run.site.held():
        wrong.append(f"{held} messages are left")
    wrong += [f"nobody sent {task_id}" for task_id, _ in starts if task_id not in sent]
    for note in run.site.notes("total"):
        if note["total"] != sent[note["id"]]["total"]:
            wrong.append(f"a chord's end is {note}, not {sent[note['id']]}")
    early = sum(times for each, times in again.items() if sent[each]["kind"] in ("early", "eta"))
    print(
        f"\n{run}: {len(sent)} tasks; {len(run.killed)} workers killed, {len(run.freezes)} times "
        f"one frozen, {run.stops} stopped; {len(lost)} lost; after a death {sum(again.values())} "
        f"runs again ({early} of early acks) and {given_up} early ones not started; all done "
        f"{run.rest_s:.0f} s after the last; {len(wrong)} wrong{calls(run.site)}",
        flush=True,
    )
    return [f"{run}: {each}" for each in wrong]


def by_try(notes: Iterable[dict[str, Any]]) -> defaultdict[tuple[str, int], list[dict[str, Any]]]:
    """Return the notes of each try of a task, the oldest first."""
    of: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for note in sorted(notes, key=lambda note: float(note["at"])):
        of[note["id"], note["try"]].append(note)
    return of


def died_with(run: Run, start: dict[str, Any], ends: list[dict[str, Any]]) -> bool:
    """Whether the worker of this start was killed before its ack was surely sent."""
    died = run.killed.get(start["worker"], 0.0)
    ended = max([start["at"], *(end["at"] for end in ends if end["worker"] == start["worker"])])
    frozen = [
        seconds
        for worker, at, seconds in run.freezes
        if worker == start["worker"] and at + seconds > start["at"]
    ]
    return start["at"] - 1 < died < ended + ACK_S + sum(frozen)


def calls(site: Site) -> str:
    if not isinstance(site, CloudflareSite):
        return ""
    stats = site.emulator.stats()
    counted = sum(
        sum(each.values()) for name, each in stats["calls"].items() if name not in ("pull", "ack")
    )
    return f"; {counted} counted calls, {stats['refused']} refused"


@pytest.fixture
def make_run(
    make_emulator: Callable[..., EmulatorProcess], tmp_path: Path, dice: random.Random
) -> Iterator[Callable[..., Run]]:
    """Make a run: `make_run(broker, pool, **options)`; each has a broker and a Redis of its own."""
    made: list[Site] = []
    servers: list[RedisServer] = []

    def make(broker: str, pool: str, **options: Any) -> Run:
        folder = tmp_path / f"{broker}-{pool}"
        folder.mkdir()
        server = RedisServer(folder)
        servers.append(server)
        server.start()
        site: Site
        if broker == "cloudflare":
            site = CloudflareSite(make_emulator(), folder)
        else:
            site = RedisSite(server.url, folder)
        site.app = "tests.soak.stranger"
        site.broker["TRANSPORT_RESULTS"] = server.url.removesuffix("/0") + "/1"
        made.append(site)
        return Run(site, pool, options, random.Random(dice.random()))

    yield make
    for site in made:
        site.close()
    for server in servers:
        server.kill()


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("broker", ["cloudflare", "redis"])
def test_a_stranger_s_app_loses_nothing_and_repeats_nothing(
    make_run: Callable[..., Run], broker: str, pool: str, seconds: float
) -> None:
    run = make_run(broker, pool)
    run.live(seconds)
    assert not (wrong := check(run)), "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_a_stranger_s_app(make_run: Callable[..., Run]) -> None:
    runs = [make_run("redis", "prefork"), make_run("redis", "threads")]
    lease = {"visibility_timeout": SHORT_LEASE_S}
    runs += [make_run("cloudflare", pool, **lease) for pool in ("prefork", "threads")]
    with ThreadPoolExecutor(len(runs)) as side_by_side:
        list(side_by_side.map(lambda run: run.live(SHORT_S), runs))
    wrong = [each for run in runs for each in check(run)]
    assert not wrong, "\n".join(wrong)


LATE = {"event": "sent", "id": "a", "kind": "late"}
STARTED = {"event": "started", "id": "a", "try": 0, "at": 10.0, "worker": 1}
ENDED = {**STARTED, "event": "ended", "at": 11.0}
AGAIN = [{**STARTED, "at": 30.0, "worker": 2}, {**ENDED, "at": 31.0, "worker": 2}]


@pytest.mark.parametrize(
    ("notes", "died", "wrong"),
    [
        ([LATE, STARTED, ENDED], None, ""),
        ([LATE], None, "late a is lost"),
        ([LATE, STARTED], 10.5, "late a is lost"),
        ([LATE, STARTED, *AGAIN], 10.5, ""),
        ([LATE, STARTED, ENDED, *AGAIN], 11.5, ""),
        ([LATE, STARTED, ENDED, *AGAIN], 20.0, "ran again though nobody died"),
        ([LATE, STARTED, ENDED, *AGAIN], None, "ran again though nobody died"),
        ([{**LATE, "kind": "topic"}, STARTED, ENDED, *AGAIN], None, ""),
        ([{**LATE, "kind": "topic"}, STARTED, ENDED], None, "topic a is lost"),
        ([{**LATE, "kind": "retry", "failures": 1}, STARTED, ENDED], None, "retry a is lost"),
        ([{**LATE, "kind": "early"}, STARTED], 10.5, ""),
        ([STARTED, ENDED], None, "nobody sent"),
    ],
)
def test_the_check_sees_what_is_lost_and_what_ran_again(
    tmp_path: Path, notes: list[dict[str, Any]], died: float | None, wrong: str
) -> None:
    site = Still({}, tmp_path)
    site.notes_file.write_text("".join(json.dumps(note) + "\n" for note in notes))
    run = Run(site, "prefork", {}, random.Random(1), killed={1: died} if died else {})
    told = "\n".join(check(run))
    assert wrong in told
    assert bool(told) == bool(wrong)


class Still(Site):
    """A site without a broker."""

    def held(self) -> int:
        return 0
