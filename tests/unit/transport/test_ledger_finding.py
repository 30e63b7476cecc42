"""A process takes the first lease ledger that is there, also one that is silent for a moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    ConfigurationError,
    LedgerRefused,
    LedgerUnavailable,
    NotFound,
    ServerFault,
    Unreachable,
)
from cutmv.transports.cloudflare.leases import (
    Found,
    Sources,
    choose_ledger,
    find_ledger,
    sought_ledger,
)
from cutmv.transports.cloudflare.leases.ledger import Entry, Ledger, open_ledger
from cutmv.transports.cloudflare.leases.sought_ledger import SoughtLedger
from cutmv.transports.cloudflare.options import Options
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.transport import wait_until

ACCOUNT = "0" * 32
HELD = Entry("a", "held", 60)


@dataclass
class Edge:
    """The edge Worker's ledger of one record, and what it does instead of an answer."""

    error: Exception | None = None
    record: dict[str, Any] | None = None
    versions: list[str] = field(default_factory=list)

    def ask(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        if path.endswith("/read"):
            return {"record": self.record}
        self.versions.append(str(len(self.versions)))
        self.record = {"entry": document["entry"], "age": 0.0, "version": self.versions[-1]}
        return {"version": self.versions[-1]}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sought_ledger, "OPEN_AGAIN", 0.0)
    monkeypatch.setattr(sought_ledger, "KEY_AGAIN", 0.0)


def sources(
    edge: Edge | None = None,
    redis: Callable[[], Any] = lambda: None,
    environ: Mapping[str, str] | None = None,
) -> Sources:
    ask = edge.ask if edge else None
    return Sources(ask, lambda: None, redis, lambda: None, ACCOUNT, "", environ or {})


def found(given: Sources, told: list[str] | None = None) -> Found:
    ledger = find_ledger(given, [].append if told is None else told.append)
    assert ledger is not None
    return ledger


@pytest.mark.parametrize(
    "error", [Unreachable("no response"), ServerFault("HTTP 500"), AccessDenied("HTTP 401")]
)
def test_a_silent_ledger_is_the_ledger_and_not_the_next_one(
    error: Exception, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    edge = Edge(error)
    ledger = found(sources(edge, lambda: redis.Redis.from_url(redis_url)))

    assert ledger.name == "the edge Worker"
    assert len(caplog.messages) == 1
    assert "the edge Worker does not answer" in caplog.text
    with pytest.raises(LedgerUnavailable):
        ledger.ledger.read("m")
    edge.error = None
    edge.record = {"entry": asdict(HELD), "age": 0.0, "version": "1"}
    record = ledger.ledger.read("m")
    assert record is not None
    assert record.entry == HELD


def test_what_says_that_it_has_no_ledger_is_passed_over(redis_url: str) -> None:
    import redis

    edge = Edge(NotFound("no such route", status=404))
    ledger = found(sources(edge, lambda: redis.Redis.from_url(redis_url)))
    assert (ledger.name, ledger.trouble) == ("the result backend's Redis", None)
    ledger.ledger.close()


def test_a_redis_whose_user_may_not_write_is_passed_over(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("reader", enabled=True, nopass=True, commands=["+ping"], keys=["*"])
        try:
            reader = redis.Redis.from_url(redis_url, username="reader", password="any")
            assert find_ledger(sources(redis=lambda: reader)) is None
        finally:
            client.acl_deluser("reader")


def test_nothing_there_is_no_ledger(s3_url: str) -> None:
    environ = {
        "R2_ACCESS_KEY_ID": KEY_ID,
        "R2_SECRET_ACCESS_KEY": SECRET,
        "R2_ENDPOINT_URL": s3_url,
    }
    assert find_ledger(sources(Edge(NotFound("no such route")), environ=environ)) is None


def test_where_large_messages_are_there_is_a_ledger(s3_url: str, tmp_path: Path) -> None:
    environ = {
        "R2_ACCESS_KEY_ID": KEY_ID,
        "R2_SECRET_ACCESS_KEY": SECRET,
        "R2_ENDPOINT_URL": s3_url,
    }
    for store in (f"r2://{BUCKET}/{tmp_path.name}", (tmp_path / "celery").as_uri()):
        ledger = found(replace(sources(environ=environ), large_messages=store))
        assert (ledger.name, ledger.trouble) == ("the store of large messages", None)
        assert ledger.ledger.write("m", HELD, None)
        again = open_ledger(store, ACCOUNT, environ).read("m")
        assert again is not None and again.entry == HELD
    # A key of one bucket alone need not open another; the edge Worker's comes first all the same.
    assert found(replace(sources(Edge()), large_messages=store)).name == "the edge Worker"


def test_who_only_looks_for_a_ledger_writes_nothing(tmp_path: Path) -> None:
    given = replace(sources(), large_messages=tmp_path.as_uri())
    assert find_ledger(given, writes=False) is not None
    assert list(tmp_path.rglob("*")) == []


def test_a_bucket_of_which_nobody_knows_whether_it_is_there_is_waited_for() -> None:
    environ = {
        "R2_ACCESS_KEY_ID": KEY_ID,
        "R2_SECRET_ACCESS_KEY": SECRET,
        "R2_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    ledger = found(sources(environ=environ))
    assert ledger.name == "the R2 bucket celery-leases"
    assert ledger.trouble
    assert SECRET not in ledger.trouble


def test_a_silent_ledger_that_is_not_there_after_all_has_the_process_look_again() -> None:
    told: list[str] = []
    edge = Edge(Unreachable("no response"))
    ledger = found(sources(edge), told).ledger

    edge.error = NotFound("no such route", status=404)
    assert ledger.read("m") is None
    assert ledger.write("m", HELD, None), "what ends meanwhile is not held up"
    assert ledger.read("m") is None
    assert len(told) == 1
    assert "no lease ledger in the edge Worker after all" in told[0]


def test_a_ledger_that_has_answered_stays_the_ledger() -> None:
    told: list[str] = []
    edge = Edge()
    ledger = found(sources(edge), told).ledger

    edge.error = NotFound("no such route", status=404)
    with pytest.raises(LedgerUnavailable):
        ledger.read("m")
    edge.error = None
    wait_until(lambda: answers(ledger), 10, "it answers again")
    assert not told


def test_a_ledger_that_could_not_be_opened_is_opened_later(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    caplog.set_level(logging.INFO)
    working = False

    def client() -> Any:
        if not working:
            raise RuntimeError("rediss://:hunter2@x can't be resolved")
        return redis.Redis.from_url(redis_url)

    ledger = found(sources(redis=client)).ledger
    with pytest.raises(LedgerUnavailable):
        ledger.read("m")
    working = True
    wait_until(lambda: answers(ledger), 10, "it is opened")
    assert "hunter2" not in caplog.text
    assert "the lease ledger answers: the result backend's Redis" in caplog.text
    ledger.close()


def test_a_ledger_is_opened_again_by_the_key_that_is_valid_by_now(tmp_path: Path) -> None:
    valid = "first"

    class Keyed:
        """A ledger that knows one key."""

        def __init__(self, key: str) -> None:
            self.key, self.records = key, open_ledger(tmp_path.as_uri(), ACCOUNT, {})

        def read(self, key: str) -> Any:
            if self.key != valid:
                raise LedgerRefused("403")
            return self.records.read(key)

        def write(self, key: str, entry: Entry, version: str | None) -> str | None:
            return self.records.write(key, entry, version)

        def accept(self, request_id: str) -> bool:
            return self.records.accept(request_id)

        def close(self) -> None:
            pass

    ledger = SoughtLedger("the bucket", lambda: Keyed(valid), pytest.fail)
    assert ledger.read("m") is None
    ledger.keep(heard=True)
    assert ledger.write("m", HELD, None)

    valid = "second"
    with pytest.raises(LedgerRefused):
        ledger.read("m")
    wait_until(lambda: answers(ledger), 10, "it has the new key")
    assert ledger.read("m")


def answers(ledger: Ledger) -> bool:
    try:
        ledger.read("m")
    except LedgerUnavailable:
        return False
    return True


def chosen(url: str) -> Found | None:
    return choose_ledger(Options(lease_ledger=url), ACCOUNT, sources, pytest.fail)


def test_a_named_ledger_that_does_not_answer_is_told_and_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = chosen("redis://:hunter2@127.0.0.1:1/0")
    assert ledger is not None
    assert "the option lease_ledger (redis) does not answer" in caplog.text
    assert "hunter2" not in caplog.text
    with pytest.raises(LedgerUnavailable):
        ledger.ledger.read("m")


def test_a_named_bucket_that_is_not_there_is_a_wrong_setting(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("R2_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("R2_ENDPOINT_URL", s3_url)
    with pytest.raises(ConfigurationError, match=r"lease_ledger.*NoSuchBucket"):
        chosen("r2://no-such-bucket")
