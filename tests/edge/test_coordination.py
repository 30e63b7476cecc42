"""What outlives workers and beats: revoked tasks, rate limits, and the lease of a schedule."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, states
from celery.worker import state as worker_state

from cutmv.backends.cloudflare import beat, notes
from cutmv.transports.cloudflare.errors import Unreachable
from tests.support.edge_worker import KEY, Worker
from tests.support.fork_server import python, run_python
from tests.support.processes import wait_for
from tests.support.redis import RedisServer
from tests.support.transport import CloudflareSite, RedisSite, Site, WorkerProcess

pytestmark = pytest.mark.edge

SOON_S = 60


def app_of(url: str, name: str, **conf: Any) -> Celery:
    app = Celery(name, broker="memory://", backend="cloudflare://")
    options = {"edge_url": url, "edge_keys": KEY, "global_keyprefix": f"{name}-"}
    app.conf.update(result_backend_transport_options=options, **conf)
    return app


@pytest.fixture
def app(hub_worker: Worker) -> Iterator[Celery]:
    with app_of(hub_worker.url, f"app-{uuid4().hex}") as app:
        yield app


@pytest.fixture
def revoked() -> Iterator[Any]:
    worker_state.revoked.clear()
    yield worker_state.revoked
    worker_state.revoked.clear()


def test_a_worker_that_starts_later_obeys(app: Celery, revoked: Any) -> None:
    @app.task(name="limited")
    def limited() -> None: ...

    app.finalize()
    app.control.revoke("one")
    app.control.revoke(["two", "three"], terminate=True)
    app.control.revoke("elsewhere", destination=["another@host"])
    app.control.rate_limit("limited", "10/m")
    app.control.rate_limit("unknown", "1/s")
    later = SimpleNamespace(app=app, resets=0)
    later.reset_rate_limits = lambda: setattr(later, "resets", later.resets + 1)

    notes._obey(later)

    assert sorted(revoked) == ["one", "three", "two"]
    assert (limited.rate_limit, later.resets) == ("10/m", 1)

    app.control.rate_limit("limited", 0)
    notes._obey(later)
    assert limited.rate_limit is None


@pytest.mark.slow
def test_thousands_of_revoked_tasks_are_read(app: Celery, revoked: Any) -> None:
    ids = [uuid4().hex for _ in range(2_500)]
    app.control.revoke(ids)
    assert sorted(app.backend.notes.revoked()) == sorted(ids)  # type: ignore[attr-defined]


def test_apps_with_other_prefixes_have_other_notes(app: Celery, hub_worker: Worker) -> None:
    app.control.revoke("mine")
    with app_of(hub_worker.url, f"app-{uuid4().hex}") as other:
        assert other.backend.notes.revoked() == []  # type: ignore[attr-defined]


# Beat.


class Sent(beat.Scheduler):
    """A beat that notes what it sends in place of sending it; its clock's pauses are short."""

    def __init__(self, app: Celery) -> None:
        self.sent: list[tuple[str, str]] = []
        self.dies = False
        super().__init__(app)

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **_: Any) -> Any:
        self.sent.append((entry.name, entry.options["task_id"]))
        if self.dies:
            raise KeyboardInterrupt
        return SimpleNamespace(id=entry.options["task_id"])

    @property
    def producer(self) -> Any:
        return None

    def turn(self, seconds: float = 0.0) -> list[tuple[str, str]]:
        """Tick for so long, with the question for the lease each time; return what was sent."""
        began, before = time.monotonic(), len(self.sent)
        while True:
            self._ask_at = 0.0
            while self.tick() == 0:
                pass
            if time.monotonic() - began >= seconds:
                return self.sent[before:]
            time.sleep(0.05)


@pytest.fixture
def beats(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Sent]]:
    monkeypatch.setattr(beat, "LEASE", 2)
    app.conf.beat_schedule = {"each second": {"task": "t", "schedule": 1.0}}
    made: list[Sent] = []

    def make() -> Sent:
        made.append(Sent(app))
        return made[-1]

    yield make
    for each in made:
        each.__dict__.pop("producer", None)


@pytest.mark.slow
def test_one_of_two_beats_runs_the_schedule(beats: Callable[[], Sent]) -> None:
    first, second = beats(), beats()
    sent: list[tuple[str, str]] = []
    for _ in range(8):
        sent += first.turn(0.4)
        assert second.turn() == []
    assert 2 <= len(sent) <= 4
    assert len({task_id for _, task_id in sent}) == len(sent)


def test_the_other_takes_over_where_the_first_ended(beats: Callable[[], Sent]) -> None:
    first, second = beats(), beats()
    wait_for(lambda: first.turn(0.1), SOON_S)
    last = first.schedule["each second"].last_run_at
    count = first.schedule["each second"].total_run_count
    first.close()
    wait_for(lambda: second.turn(0.1), SOON_S)
    entry = second.schedule["each second"]
    assert entry.total_run_count == count + 1
    assert timedelta(seconds=1) <= entry.last_run_at - last < timedelta(seconds=30)


@pytest.mark.slow
def test_what_one_sent_and_did_not_commit_is_sent_again_under_the_same_id(
    beats: Callable[[], Sent],
) -> None:
    first, second = beats(), beats()
    first.turn()
    first.dies = True
    with pytest.raises(KeyboardInterrupt):
        first.turn(SOON_S)
    wait_for(lambda: second.turn(0.1), SOON_S, "the lease ends")
    assert second.sent[0] == first.sent[-1]
    wait_for(lambda: len(second.sent) > 1 or second.turn(0.2), SOON_S)
    assert second.sent[1] != second.sent[0]


@pytest.mark.slow
def test_one_that_lost_its_lease_unawares_sends_nothing(beats: Callable[[], Sent]) -> None:
    first, second = beats(), beats()
    first.turn()
    wait_for(lambda: second._hold() or second.__setattr__("_ask_at", 0.0), SOON_S, "it ends")
    assert first._held, "it does not know yet"
    before = len(first.sent)
    entry = first.schedule["each second"]
    entry.last_run_at = datetime.now(UTC) - timedelta(seconds=10)
    first._heap = None
    first._ask_at = time.monotonic() + 100
    for _ in range(3):
        first.tick()
    assert len(first.sent) == before
    assert not first._held


@pytest.mark.slow
def test_nothing_runs_while_the_worker_is_away_and_once_when_it_is_back(
    beats: Callable[[], Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    only = beats()
    only.turn()
    perform = only._perform

    def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("away")

    monkeypatch.setattr(only, "_perform", away)
    assert only.turn(3) == []
    monkeypatch.setattr(only, "_perform", perform)
    assert len(wait_for(lambda: only.turn(0.1), SOON_S)) == 1


@pytest.mark.slow
def test_a_run_that_was_sent_while_the_worker_went_away_is_not_sent_again(
    beats: Callable[[], Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    only = beats()
    only.turn()
    perform = only._perform

    def no_commit(op: str, **fields: Any) -> Any:
        if op == "commit":
            raise Unreachable("away")
        return perform(op, **fields)

    monkeypatch.setattr(only, "_perform", no_commit)
    (sent,) = wait_for(lambda: only.turn(0.1), SOON_S)
    monkeypatch.setattr(only, "_perform", perform)
    only._held = False
    assert sent not in wait_for(lambda: only.turn(0.3), SOON_S)


#: A schedule that runs a task every two seconds, and the options of a beat that holds its lease.
SCHEDULE = {"two": {"task": "tests.support.results_app.callback", "schedule": 2.0, "args": [1]}}
HELD = ("-S", "cutmv.backends.cloudflare.beat:Scheduler")


def start_beat(site: Site, output: Path, *options: str) -> WorkerProcess:
    """Start `celery beat` of the site's app."""
    argv = ["-m", "celery", "-A", site.app, "beat", "-l", "INFO", "--pidfile=", *options]
    with output.open("wb") as out:
        child = python(
            *argv, env=site.env(), cwd=output.parent, stdout=out, stderr=out, new_session=True
        )
    return WorkerProcess(child, output)


@pytest.mark.slow
def test_two_beats_and_one_killed_run_each_second_once(
    make_emulator: Callable[..., Any], hub_worker: Worker, tmp_path: Path
) -> None:
    site = CloudflareSite(make_emulator(), tmp_path)
    site.app = "tests.support.results_app"
    site.broker |= {
        "CLOUDFLARE_EDGE_URL": hub_worker.url,
        "CLOUDFLARE_EDGE_KEYS": KEY,
        "TRANSPORT_RESULTS": "cloudflare://",
        "TRANSPORT_CONF": json.dumps(
            {
                "beat_schedule": SCHEDULE,
                "result_backend_transport_options": {"global_keyprefix": uuid4().hex},
            }
        ),
    }
    beats: list[WorkerProcess] = []

    def runs() -> list[float]:
        return [note["at"] for note in site.notes("callback")]

    try:
        site.ready(site.worker("-c", "1"))
        beats.append(start_beat(site, tmp_path / "first.log", *HELD))
        wait_for(lambda: len(runs()) >= 3, SOON_S, "it runs")
        beats.append(start_beat(site, tmp_path / "second.log", *HELD))
        wait_for(lambda: "beat: Starting" in beats[1].log(), SOON_S)
        wait_for(lambda: len(runs()) >= 6, SOON_S, "it still runs")
        beats[0].kill()
        ran = len(runs())
        wait_for(lambda: len(runs()) >= ran + 4, 2 * SOON_S, "the other took over")
        assert "has the lease" in beats[1].log()
        gaps = [later - before for before, later in zip(runs(), runs()[1:], strict=False)]
        print("seconds between runs:", [round(gap, 1) for gap in gaps])
        assert min(gaps) > 1, "none ran twice"
        assert sum(gap > 5 for gap in gaps) <= 1, "but for the lease, none was missed"
    finally:
        for each in beats:
            if each.child.poll() is None:
                each.kill()
        site.close()


def revoke_one_of_two(site: Site, folder: Path) -> list[str]:
    """Send two tasks while no worker runs, revoke the first, and return their ids."""
    code = (
        "import json, sys, pathlib; import tests.support.results_app as a\n"
        "ids = [a.callback.delay(n).id for n in range(2)]\n"
        "a.app.control.revoke(ids[0]); pathlib.Path(sys.argv[1]).write_text(json.dumps(ids))\n"
    )
    run_python("-c", code, str(folder / "ids"), env=site.env(), check=True)
    return list(json.loads((folder / "ids").read_text()))


@pytest.mark.slow
def test_a_task_revoked_while_no_worker_ran_is_not_run(
    make_emulator: Callable[..., Any], hub_worker: Worker, tmp_path: Path
) -> None:
    site = CloudflareSite(make_emulator(), tmp_path)
    site.app = "tests.support.results_app"
    site.broker |= {
        "CLOUDFLARE_EDGE_URL": hub_worker.url,
        "CLOUDFLARE_EDGE_KEYS": KEY,
        "TRANSPORT_RESULTS": "cloudflare://",
    }
    try:
        ids = revoke_one_of_two(site, tmp_path)
        worker = site.ready(site.worker("-c", "1"))
        wait_for(lambda: site.notes("callback"), SOON_S, "the other runs")
        wait_for(
            lambda: f"Discarding revoked task: {site.app}.callback[{ids[0]}]" in worker.log(),
            SOON_S,
            "it is revoked",
        )
        assert [note["value"] for note in site.notes("callback")] == [1]
        with app_of(hub_worker.url, "reader") as app:
            app.conf.result_backend_transport_options.pop("global_keyprefix")
            assert app.AsyncResult(ids[0]).state == states.REVOKED
    finally:
        site.close()


# What docs/results.md says of Redis, beside which ours is compared.


@pytest.fixture
def on_redis(tmp_path: Path) -> Iterator[RedisSite]:
    server = RedisServer(tmp_path)
    server.start()
    site = RedisSite(server.url, tmp_path)
    site.app = "tests.support.results_app"
    site.broker |= {"TRANSPORT_RESULTS": server.url}
    yield site
    site.close()
    server.kill()


@pytest.mark.slow
def test_on_redis_each_of_two_beats_sends_every_run(on_redis: RedisSite, tmp_path: Path) -> None:
    on_redis.broker |= {"TRANSPORT_CONF": json.dumps({"beat_schedule": SCHEDULE})}
    on_redis.ready(on_redis.worker("-c", "1"))
    logs = [tmp_path / f"{name}.log" for name in ("first", "second")]
    beats = [start_beat(on_redis, log, "-s", str(log.with_suffix(".db"))) for log in logs]
    try:

        def sendings() -> list[int]:
            return [each.log().count("Sending due task") for each in beats]

        wait_for(lambda: min(sendings()) >= 3, SOON_S, "both send")
        sent = sum(sendings())
        wait_for(lambda: len(on_redis.notes("callback")) >= sent, SOON_S, "all of it runs")
    finally:
        for each in beats:
            each.kill()


@pytest.mark.slow
def test_on_redis_a_task_revoked_while_no_worker_ran_is_run(
    on_redis: RedisSite, tmp_path: Path
) -> None:
    revoke_one_of_two(on_redis, tmp_path)
    on_redis.ready(on_redis.worker("-c", "1"))
    wait_for(lambda: len(on_redis.notes("callback")) == 2, SOON_S, "both run")
