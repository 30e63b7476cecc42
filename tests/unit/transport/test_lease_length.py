"""How long a lease is without a ledger, and which ledger a process finds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.edge import EdgeClient, signature, to_edge
from cutmv.transports.cloudflare.errors import LedgerUnavailable, Unreachable
from cutmv.transports.cloudflare.leases import Sources, bucket_name, find_ledger, without_ledger
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.leases.edge_ledger import EdgeLedger
from cutmv.transports.cloudflare.leases.ledger import Entry
from cutmv.transports.cloudflare.leases.length import SLACK, LeaseLength
from cutmv.transports.cloudflare.options import MAX_VISIBILITY_TIMEOUT
from cutmv.transports.cloudflare.runtime import clock

KEYS = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0"


class Worker(ThreadingHTTPServer):
    """Keeps records as the edge Worker does; `gone` answers 404, as an older one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records: dict[str, dict[str, Any]] = {}
        self.gone, self.odd = False, False
        self.calls = 0
        self.seen = signature.SeenIds()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Worker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        given = {name.lower(): value for name, value in self.headers.items()}
        signature.verify(KEYS, to_edge("POST", self.path), given, body, seen=self.server.seen)
        self.server.calls += 1
        asked = json.loads(body)
        status, answer = 200, self.answer(asked)
        if self.server.gone:
            status, answer = 404, {"detail": "no such route"}
        elif self.server.odd:
            answer = {"record": {"entry": 1}, "version": 7}
        said = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.server.records.get(asked["key"])
        if self.path == "/v1/ledger/read":
            return {"record": found and {**found, "age": 0.25}}
        assert self.path == "/v1/ledger/write"
        if asked["version"] != (found and found["version"]):
            return {"version": None}
        version = uuid4().hex
        self.server.records[asked["key"]] = {"entry": asked["entry"], "version": version}
        return {"version": version}

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    threading.Thread(target=worker.serve_forever, daemon=True).start()
    yield worker
    worker.shutdown()
    worker.server_close()


@pytest.fixture
def edge(worker: Worker) -> Iterator[EdgeClient]:
    client = EdgeClient(worker.url, KEYS, "")
    yield client
    client.close()


def sources(
    edge: EdgeClient | None = None,
    redis: Callable[[], Any] = lambda: None,
    keys: Callable[[], Any] = lambda: None,
    environ: Mapping[str, str] | None = None,
) -> Sources:
    ask = edge.ask if edge else None
    return Sources(ask, lambda: None, redis, keys, "a" * 32, "", environ or {})


def test_the_edge_ledger_replaces_what_it_has_seen(edge: EdgeClient, worker: Worker) -> None:
    ledger = EdgeLedger(edge.ask)
    assert ledger.read("m") is None
    version = ledger.write("m", Entry("a", "held", 60), None)
    assert version
    assert ledger.write("m", Entry("b", "held", 60), None) is None
    record = ledger.read("m")
    assert record is not None
    assert (record.entry, record.version) == (Entry("a", "held", 60), version)
    assert 59 < record.remaining < 60
    assert ledger.write("m" * 10_000 + "\ud800", Entry("a", "done", 60), None), "any identity fits"
    assert all(len(key) < 100 for key in worker.records)

    worker.odd = True
    with pytest.raises(LedgerUnavailable):
        ledger.read("m")
    with pytest.raises(LedgerUnavailable):
        ledger.write("m", Entry("a", "held", 60), version)


def test_the_edge_worker_s_ledger_comes_first(edge: EdgeClient, worker: Worker) -> None:
    found = find_ledger(sources(edge, redis=lambda: pytest.fail("it is not looked at")))
    assert found is not None
    assert found.name == "the edge Worker"
    assert worker.calls == 2


def test_an_older_worker_is_passed_over_in_silence(
    edge: EdgeClient, worker: Worker, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    worker.gone = True
    found = find_ledger(sources(edge, redis=lambda: redis.Redis.from_url(redis_url)))
    assert found is not None
    assert found.name == "the result backend's Redis"
    assert not caplog.records
    found.ledger.close()


@pytest.mark.parametrize(
    ("silent", "name"),
    [
        (0, "the edge Worker"),
        (1, "the result backend's Redis"),
        (2, "the R2 bucket celery-leases"),
    ],
)
def test_what_does_not_answer_is_told_in_a_line_and_waited_for(
    silent: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    def unreachable() -> Any:
        return redis.Redis.from_url("redis://:hunter2@127.0.0.1:1/0")

    away = EdgeClient("http://127.0.0.1:1", KEYS, "")

    def no_keys() -> Any:
        raise Unreachable("no answer from https://user:hunter2@api")

    given = [sources(away), sources(redis=unreachable), sources(keys=no_keys)]
    found = find_ledger(given[silent])
    away.close()
    assert found is not None
    assert found.name == name
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"cloudflare: {name} does not answer (")
    assert "hunter2" not in line
    assert "\n" not in line


def test_nothing_there_is_no_ledger_and_no_line(caplog: pytest.LogCaptureFixture) -> None:
    assert find_ledger(sources()) is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("prefix", "bucket"),
    [
        ("", "celery-leases"),
        ("shop-", "shop-celery-leases"),
        ("My_Shop.", "my-shop-celery-leases"),
        ("x" * 80, "x" * 49 + "-celery-leases"),
    ],
)
def test_the_bucket_has_a_name_that_buckets_may_have(prefix: str, bucket: str) -> None:
    assert bucket_name(prefix) == bucket


# Lengths.


def run_worker(monkeypatch: pytest.MonkeyPatch, pool: str, **settings: Any) -> None:
    """Be a worker of one task."""
    given = {
        "pool_cls": pool,
        "time_limit": None,
        "prefetch_multiplier": 4,
        "min_concurrency": 2,
        "max_concurrency": None,
        "task_limit": None,
        **settings,
    }
    tasks = {
        "celery.ping": SimpleNamespace(time_limit=None),
        "shop.pack": SimpleNamespace(time_limit=given.pop("task_limit")),
    }
    conf = SimpleNamespace(task_time_limit=None)
    worker = SimpleNamespace(app=SimpleNamespace(tasks=tasks, _tasks=tasks, conf=conf), **given)
    monkeypatch.setattr(celery_worker, "_workers", [worker])


PREFORK, THREADS = "celery.concurrency.prefork", "celery.concurrency.thread"


@pytest.mark.parametrize(
    ("pool", "settings", "seconds"),
    [
        (PREFORK, {}, 3600),
        (PREFORK, {"time_limit": 50}, 3600),
        (PREFORK, {"time_limit": 2000}, 8060),
        (PREFORK, {"task_limit": 2000}, 8060),
        ("gevent", {"time_limit": 2000}, 8060),
        (PREFORK, {"time_limit": 2000, "prefetch_multiplier": 0}, 3600),
        (PREFORK, {"time_limit": 5000, "prefetch_multiplier": 0}, 5060),
        (PREFORK, {"time_limit": 2000, "min_concurrency": 1, "max_concurrency": 3}, 24_060),
        (PREFORK, {"time_limit": 50_000}, MAX_VISIBILITY_TIMEOUT),
        (THREADS, {"time_limit": 2000}, 3600),
        ("celery.concurrency.solo", {"time_limit": 2000}, 3600),
        ("eventlet", {"time_limit": 2000}, 3600),
    ],
)
def test_a_lease_is_an_hour_or_what_tasks_may_take(
    monkeypatch: pytest.MonkeyPatch, pool: str, settings: dict[str, Any], seconds: float
) -> None:
    run_worker(monkeypatch, pool, **settings)
    assert without_ledger(celery_worker.longest_hold()) == seconds


@pytest.mark.parametrize(
    ("headers", "limit"),
    [
        ({"task": "shop.pack"}, 20),
        ({"task": "shop.pack", "timelimit": [None, None]}, 20),
        ({"task": "shop.pack", "timelimit": [30, None]}, 30),
        ({"task": "shop.pack", "timelimit": [None, 30]}, 20),
        *[({"timelimit": odd}, 40) for odd in ("x", [], ["x"], [-1], {}, None, [{}])],
        ({"task": ["no name"]}, 40),
        ({"task": "unknown"}, 40),
    ],
)
def test_a_message_s_own_limit_counts(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, Any], limit: float
) -> None:
    run_worker(monkeypatch, PREFORK, task_limit=20, time_limit=40)
    assert celery_worker.enforced_limit({"headers": headers}) == limit
    run_worker(monkeypatch, THREADS, task_limit=20, time_limit=40)
    assert celery_worker.enforced_limit({"headers": headers}) is None


def test_a_lease_grows_for_a_longer_task_once(caplog: pytest.LogCaptureFixture) -> None:
    length = LeaseLength(3600, grows=True)
    assert length.suits(None, "q")
    assert length.suits(3600 - SLACK, "q")
    assert not length.suits(5000, "q")
    assert length.seconds == 5000 + SLACK
    assert length.suits(5000, "q")
    assert not length.suits(1e9, "q")
    assert length.seconds == MAX_VISIBILITY_TIMEOUT
    assert not caplog.records

    for _ in range(2):
        assert length.suits(1e9, "q"), "no lease is longer: it runs, and that is told once"
    assert len(caplog.records) == 1
    assert LeaseLength(5).suits(30, "q"), "one that was given stays"
    assert len(caplog.records) == 2
    assert LeaseLength(5, extended=True).suits(30, "q")
    assert len(caplog.records) == 2


def test_a_task_starts_only_under_a_lease_that_lasts() -> None:
    def delivery(left: float, seconds: float = 3600, **lease: Any) -> Delivery:
        return Delivery(Lease("q", "l", until=clock() + left, seconds=seconds, **lease))

    assert delivery(10).may_start(None)
    assert not delivery(-1).may_start(None)
    assert not delivery(-1, 0).may_start(None), "with a ledger, too"
    assert not delivery(10).may_start(20), "a new lease lasts longer"
    assert delivery(10, 30).may_start(20), "no lease lasts long enough"
    assert delivery(10, 0).may_start(20), "a ledger extends it"
    assert not delivery(10, lost=True).may_start(None)
    given_back = delivery(10)
    given_back.ended = True
    assert not given_back.may_start(None)
