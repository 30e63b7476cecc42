"""What else Celery's users rely on, under every pool, here and on Redis beside it."""

from __future__ import annotations

import gc
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, chord, group

from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.queues import client, queue_id
from tests.support.redis import RedisServer
from tests.support.transport import CloudflareSite, RedisSite, Site, WorkerProcess, wait_until

#: A lease that rate-limited and running tasks outlast, seconds. Redis would deliver them again.
LEASE = {"cloudflare": 3, "redis": 3600}

#: A lease whose end no test waits for: what is not given back stays away.
LONG = 3600

#: How many tasks `seldom` starts a second at most.
RATE = 6

#: Has a worker look for commands more often, so that tests need not wait for it.
PROMPT = {"control_polling_interval": 0.1}

APP = "tests.support.semantics_app"


class Place:
    """A site with results in Redis, its worker's options, and an app that sends tasks to it."""

    def __init__(self, broker: str, folder: Path, emulator: EmulatorProcess, results: str) -> None:
        self.site: Site
        options: dict[str, Any] = {"visibility_timeout": LEASE[broker]}
        if broker == "redis":
            self.site, url = RedisSite(results, folder), results
        else:
            self.site = CloudflareSite(emulator, folder)
            url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
            options |= {"api_base_url": emulator.base_url, **PROMPT}
        self.site.app, self.broker, self.options = APP, broker, options
        self.redis = results
        self.go = folder / "go"  #: For which `hold_at_site` waits.
        self.app = Celery("everything", broker=url, backend=results, set_as_current=False)
        self.app.conf.update(task_default_queue="work", broker_transport_options=options)

    def worker(self, *args: str, **conf: Any) -> WorkerProcess:
        """Start a worker, with further settings of Celery, and wait until it is ready."""
        env = {"TRANSPORT_RESULTS": self.redis, "TRANSPORT_CONF": json.dumps(conf)}
        own = {key: value for key, value in self.options.items() if key != "api_base_url"}
        return self.site.ready(self.site.worker(*args, env=env, **own))

    def task(self, name: str, *args: Any) -> Any:
        """Return a call of a task, to be sent."""
        return self.app.signature(f"{APP}.{name}", args=args)

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a task."""
        return self.task(name, *args).apply_async(**options)

    def control(self, command: str, **arguments: Any) -> Any:
        """Return the one worker's answer to a remote control command."""
        [answer] = self.app.control.broadcast(
            command, arguments=arguments, reply=True, timeout=20, limit=1
        )
        [told] = answer.values()
        return told

    def started(self) -> list[Any]:
        """Return the values of the tasks that have started, in order."""
        return [note["value"] for note in self.site.notes("started")]

    def lose_connections(self) -> None:
        """Have the broker end the connections of all workers."""
        if isinstance(self.site, CloudflareSite):
            api, to = client(self.site.emulator), queue_id(self.site.emulator, "work")
            [queue] = [each for each in api.list_queues(1e12) if each["queue_id"] == to]
            [consumer] = queue["consumers"]
            api.delete_consumer(to, consumer["consumer_id"], 1e12)
        else:
            with redis.Redis.from_url(self.redis) as there:
                for kind in ("normal", "pubsub"):
                    there.client_kill_filter(_type=kind, skipme=True)

    def all_gone(self) -> None:
        """Wait until the broker has no message left."""
        wait_until(lambda: self.site.held() == 0, 20, "the broker has no message left")


@contextmanager
def a_place(broker: str, folder: Path) -> Iterator[Place]:
    server, emulator = RedisServer(folder), EmulatorProcess(folder / "emulator.sqlite3")
    server.start()
    if broker == "cloudflare":
        emulator.start()
    try:
        place = Place(broker, folder, emulator, server.url)
        try:
            yield place
        finally:
            gc.collect()  # results that were asked for end at Redis
            place.app.close()
            place.site.close()
    finally:
        emulator.kill()
        server.kill()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with a_place(getattr(request, "param", "cloudflare"), tmp_path) as place:
        yield place


both = pytest.mark.parametrize("place", ["cloudflare", "redis"], indirect=True)


#: What runs with the fast tests: brokers and pools. Redis is the same under every pool.
FAST = [("cloudflare", "prefork"), ("cloudflare", "threads"), ("redis", "prefork")]
SLOW = [("cloudflare", "solo"), ("cloudflare", "gevent"), ("cloudflare", "eventlet")]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (broker, pool),
            id=f"{broker}-{pool}",
            marks=() if (broker, pool) in FAST else pytest.mark.slow,
        )
        for broker, pool in FAST + SLOW
    ],
)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A place with one worker of each pool, for all tests that leave nothing behind."""
    broker, pool = request.param
    with a_place(broker, tmp_path_factory.mktemp(f"{broker}-{pool}")) as place:
        place.worker("-P", pool)
        yield place


def test_a_chord_s_body_gets_all_results(shared: Place) -> None:
    header = [shared.task("add", number, number) for number in range(12)]
    assert chord(header, app=shared.app)(shared.task("total")).get(timeout=30) == 132
    shared.all_gone()


def test_a_rate_limit_holds_tasks_back_and_loses_none(shared: Place) -> None:
    """Those held back keep their leases, and other tasks run meanwhile."""
    before = len(shared.started())
    for number in range(6):
        shared.send("seldom", number)
    assert shared.send("add", 1, 2).get(timeout=30) == 3
    assert len(shared.started()) < before + 6, "another task ran meanwhile"
    wait_until(lambda: len(shared.started()) == before + 6, 30, "all have run")
    shared.all_gone()
    notes = shared.site.notes("started")[before:]
    assert [note["value"] for note in notes] == list(range(6))
    assert not any(note["redelivered"] for note in notes)
    assert notes[-1]["at"] - notes[0]["at"] >= 5 / RATE - 0.1

    assert "ok" in shared.control("rate_limit", task_name=f"{APP}.seldom", rate_limit="100/s")
    for number in range(6):
        shared.send("seldom", number)
    wait_until(lambda: len(shared.started()) == before + 12, 30, "all have run")
    shared.all_gone()
    notes = shared.site.notes("started")[before + 6 :]
    assert sorted(note["value"] for note in notes) == list(range(6))
    assert notes[-1]["at"] - notes[0]["at"] < 5 / RATE
    shared.control("rate_limit", task_name=f"{APP}.seldom", rate_limit=f"{RATE}/s")


def test_a_revoked_task_that_waits_never_runs(shared: Place) -> None:
    before = len(shared.started())
    result = shared.send("seldom", "revoked", countdown=1)
    assert "ok" in shared.control("revoke", task_id=result.id)
    shared.all_gone()
    assert len(shared.started()) == before
    assert result.state == "REVOKED"


@both
def test_autoscale_moves_the_prefetch(place: Place) -> None:
    """With a prefetch multiplier of 1 and late acks, a worker has no more than it can run."""
    worker = place.worker("--autoscale=3,1", worker_prefetch_multiplier=1)
    for number in range(8):
        place.send("hold_at_site", number)
    has(place, worker, 3)

    place.control("autoscale", max=5, min=1)
    has(place, worker, 5)

    place.go.touch()
    place.all_gone()
    place.go.unlink()
    place.control("autoscale", max=2, min=1)
    for number in range(8, 14):
        place.send("hold_at_site", number)
    has(place, worker, 2, done=8)
    assert place.control("stats")["prefetch_count"] == 2
    place.go.touch()
    place.all_gone()
    assert sorted(place.started()) == list(range(14))
    assert "Traceback" not in worker.log()


def has(place: Place, worker: WorkerProcess, count: int, done: int = 0) -> None:
    """Wait until a worker runs as many tasks, and has no others, besides those that are `done`."""
    wait_until(lambda: len(place.started()) == done + count, what=f"{count} run")
    if isinstance(place.site, CloudflareSite):  # an answer to a command has a lease for a moment
        wait_until(lambda: leases(place) == count, what=f"{count} are leased")
    assert worker.log().count("] received") == done + count


def leases(place: Place) -> int:
    """Return how many messages of the emulator are leased."""
    assert isinstance(place.site, CloudflareSite)
    return int(place.site.emulator.stats()["leases_outstanding"])


@both
def test_a_prefetch_multiplier_of_0_takes_all_there_is(place: Place) -> None:
    if place.broker == "cloudflare":
        place.options["visibility_timeout"] = 1
    group([place.task("hold_at_site", n) for n in range(150)], app=place.app).apply_async()
    worker = place.worker("-P", "threads", worker_prefetch_multiplier=0)
    wait_until(lambda: worker.log().count("] received") == 150, what="it has all")
    if place.broker == "cloudflare":
        time.sleep(place.options["visibility_timeout"])  # the last ones wait for longer
    place.go.touch()
    place.all_gone()
    assert sorted(place.started()) == list(range(150))


@pytest.mark.parametrize(
    ("place", "pool", "ends"),
    [
        *(
            pytest.param("cloudflare", pool, ends, marks=() if fast else pytest.mark.slow)
            for pool, ends, fast in (
                ("prefork", True, False),
                ("prefork", False, False),
                ("threads", True, False),
                ("threads", False, True),
                ("gevent", False, False),
                ("eventlet", False, False),
            )
        ),
        pytest.param("redis", "threads", False, marks=pytest.mark.slow),
    ],
    indirect=["place"],
)
def test_a_soft_shutdown_loses_no_task(place: Place, pool: str, ends: bool) -> None:
    """What ends in time is done, and the rest runs elsewhere: only what was killed runs twice.

    Celery can't end a thread: its worker waits for it. On Redis its task runs elsewhere, too. A
    worker of green threads, whose loop can't sleep in a signal's handler, ends when all are done.
    """
    place.options["visibility_timeout"] = LONG
    first = place.worker("-P", pool, worker_soft_shutdown_timeout=0.5)
    for number in range(8):
        place.send("hold_at_site", number)
    wait_until(lambda: len(place.started()) == 2, what="it is busy")
    if pool == "prefork":  # Celery ends no task that a process runs, and of which it has not heard
        wait_until(lambda: len(place.control("active")) == 2, what="the worker knows")
    first.child.send_signal(signal.SIGQUIT)
    wait_until(lambda: "Initiating Soft Shutdown" in first.log(), what="it has heard")
    if ends:
        place.go.touch()
    place.worker("-P", "threads", "-c", "8")
    killed = 2 if pool == "prefork" and not ends else 0
    green = pool in ("gevent", "eventlet")
    if place.broker == "cloudflare" and not green:  # Redis has the rest then, or at once
        wait_until(lambda: len(place.started()) >= 8 + killed, what="the rest runs elsewhere")
    place.go.touch()
    place.all_gone()
    first.child.wait(20)
    ended = sorted(note["value"] for note in place.site.notes("ended"))
    if place.broker == "redis":
        assert set(ended) == set(range(8))
        return
    assert ended == list(range(8))
    assert len(place.started()) == 8 + killed


@pytest.mark.slow
@both
def test_a_cold_shutdown_fails_the_task_of_a_solo_pool(place: Place) -> None:
    """That is Celery's: it raises in the task that it can't end, and so the task has failed."""
    place.options["visibility_timeout"] = LONG
    first = place.worker(
        "-P", "solo", worker_soft_shutdown_timeout=0.5, task_store_errors_even_if_ignored=True
    )
    results = [place.send("hold_at_site", number) for number in range(4)]
    wait_until(lambda: len(place.started()) == 1, what="it is busy")
    first.child.send_signal(signal.SIGQUIT)
    first.child.wait(20)
    assert place.site.held() == 3
    place.go.touch()
    place.worker("-P", "solo")
    place.all_gone()
    assert place.started() == [0, 1, 2, 3]
    states = [place.app.AsyncResult(result.id).state for result in results]
    assert states == ["FAILURE", "PENDING", "PENDING", "PENDING"], "no result of a success is kept"


@pytest.mark.parametrize(
    ("place", "pool"),
    [
        ("cloudflare", "prefork"),
        *(
            pytest.param("cloudflare", pool, marks=pytest.mark.slow)
            for pool in ("threads", "solo", "gevent", "eventlet")
        ),
        pytest.param("redis", "prefork", marks=pytest.mark.slow),
    ],
    indirect=["place"],
)
def test_what_waits_in_a_worker_runs_once_though_its_connection_is_lost(
    place: Place, pool: str
) -> None:
    """A rate limit and an `eta` hold them back. On Redis they run again where that happens.

    A new rate makes a new bucket, and Celery goes on with the old one when all is given back.
    """
    place.options["visibility_timeout"] = LONG
    worker = place.worker("-P", pool)
    for number in range(6):
        place.send("seldom", number)
    for number in range(6, 10):
        place.send("seldom", number, countdown=1)
    wait_until(lambda: worker.log().count("] received") >= 10, what="it holds them back")
    place.control("rate_limit", task_name=f"{APP}.seldom", rate_limit="5/s")
    place.lose_connections()
    wait_until(lambda: "onnection to broker lost" in worker.log(), 30, "it reconnects")
    place.all_gone()
    assert set(place.started()) == set(range(10))
    assert place.broker == "redis" or len(place.started()) == 10


@pytest.mark.slow
@both
def test_celery_multi_starts_and_ends_workers(place: Place) -> None:
    def multi(command: str) -> None:
        folder = place.site.directory
        run_python(
            "-m", "celery", "-A", APP, "multi", command, "one", "two", "-c", "1",
            f"--pidfile={folder}/%n.pid", f"--logfile={folder}/%n.log", "-l", "INFO",
            env={**place.site.env(**place.options), "TRANSPORT_RESULTS": place.redis,
                 "TRANSPORT_PREFETCH": "1"},
            check=True, cwd=folder,
        )  # fmt: skip

    multi("start")
    try:
        for number in range(4):
            place.send("hold_at_site", number)
        wait_until(
            lambda: len({note["pid"] for note in place.site.notes("started")}) == 2,
            40,
            "both run tasks",
        )
        place.go.touch()
        place.all_gone()
    finally:
        multi("stopwait")
    assert place.broker == "redis" or leases(place) == 0
    assert sorted(place.started()) == list(range(4))
