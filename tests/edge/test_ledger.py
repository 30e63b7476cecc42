"""The lease ledger: one writer of a version is heard, and records expire."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from cutmv.transports.cloudflare.edge import EdgeClient, to_edge
from cutmv.transports.cloudflare.leases import Sources, find_ledger
from cutmv.transports.cloudflare.leases.ledger import Entry
from tests.support.edge_worker import KEY, Worker, signed
from tests.support.processes import wait_for

pytestmark = pytest.mark.edge

#: Writers of one record at once.
WRITERS = 8


def entry(owner: str, state: str = "held", **more: Any) -> dict[str, Any]:
    return {"owner": owner, "state": state, "seconds": 300.0, "losses": 0, **more}


def read(worker: Worker, key: str) -> dict[str, Any] | None:
    answer = worker.post("/v1/ledger/read", {"key": key})
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] | None = answer.json()["record"]
    return record


def write(worker: Worker, key: str, what: dict[str, Any], version: str | None) -> str | None:
    answer = worker.post("/v1/ledger/write", {"key": key, "entry": what, "version": version})
    assert answer.status_code == 200, answer.text
    new: str | None = answer.json()["version"]
    return new


def test_a_record_is_read_as_it_was_written(worker: Worker) -> None:
    key = f"queue/{uuid4().hex}"
    assert read(worker, key) is None
    version = write(worker, key, entry("a", losses=2), None)
    record = read(worker, key)
    assert record
    assert 0 <= record.pop("age") < 60
    assert record == {"entry": entry("a", losses=2), "version": version}


def test_a_batch_is_accepted_once(worker: Worker) -> None:
    asked = {"id": f"msg_{uuid4().hex}"}
    answers = [worker.post("/v1/ledger/accept", asked).json() for _ in range(2)]
    assert answers == [{"accepted": True}, {"accepted": False}]
    assert worker.post("/v1/ledger/accept", {"id": "i" * 256}).status_code == 400


def test_of_writers_at_once_one_is_heard(worker: Worker) -> None:
    key = f"queue/{uuid4().hex}"
    version: str | None = None
    with ThreadPoolExecutor(WRITERS) as pool:
        for turn in range(5):
            owners = [f"{turn}-{n}" for n in range(WRITERS)]
            given = [(worker, key, entry(owner), version) for owner in owners]
            answers = list(pool.map(lambda each: write(*each), given))
            ((owner, version),) = [
                (owner, answer) for owner, answer in zip(owners, answers, strict=True) if answer
            ]
            record = read(worker, key)
            assert record
            assert (record["entry"]["owner"], record["version"]) == (owner, version)


def test_a_record_expires(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(LEDGER_KEEP_S="2")
    version = write(worker, "k", entry("a"), None)
    wait_for(lambda: read(worker, "k") is None, 30, "the record expires")
    assert write(worker, "k", entry("b"), version) is None
    assert write(worker, "k", entry("b"), None)


def test_only_who_has_a_key_reads_or_writes(worker: Worker) -> None:
    for route in ("read", "write"):
        answer = worker.post(f"/v1/ledger/{route}", {"key": "k"}, keys=("another",))
        assert answer.status_code == 401


def test_a_repeated_write_changes_nothing(worker: Worker) -> None:
    key = uuid4().hex
    body = b'{"key": "%s", "entry": {"owner": "a", "state": "held", "seconds": 1, "losses": 0}}'
    body %= key.encode()
    headers = signed(body, to_edge("POST", "/v1/ledger/write"))
    versions = [
        worker.http.post(worker.url + "/v1/ledger/write", content=body, headers=headers).json()
        for _ in range(2)
    ]
    assert versions[1] == {"version": None}
    record = read(worker, key)
    assert record
    assert record["version"] == versions[0]["version"]


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"key": "é" * 257, "entry": entry("a")}, "512 bytes"),
        ({"key": "k", "entry": entry("a", "mine")}, "state"),
        ({"key": "k", "entry": entry("a" * 1024)}, "1024 bytes"),
        ({"key": "k"}, "entry"),
    ],
    ids=["key", "state", "size", "entry"],
)
def test_what_does_not_fit_is_a_problem(
    worker: Worker, document: dict[str, Any], word: str
) -> None:
    answer = worker.post("/v1/ledger/write", document)
    assert answer.status_code == 400
    assert word in answer.json()["detail"]


def test_a_process_finds_the_worker_s_ledger(worker: Worker) -> None:
    client = EdgeClient(worker.url, KEY, "")
    sources = Sources(client.ask, client.close, lambda: None, lambda: None, "a" * 32, "", {})
    found = find_ledger(sources)
    assert found is not None
    assert found.name == "the edge Worker"

    key, ledger = uuid4().hex, found.ledger
    assert ledger.read(key) is None
    version = ledger.write(key, Entry("a", "held", 60, 2), None)
    record = ledger.read(key)
    assert record is not None
    assert (record.entry, record.version) == (Entry("a", "held", 60, 2), version)
    assert 0 < record.remaining <= 60
    assert ledger.write(key, Entry("b", "held", 60), None) is None
    assert ledger.write(key, Entry("a", "done", 60), version)
    ledger.close()
