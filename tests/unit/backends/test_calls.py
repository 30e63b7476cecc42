"""Operations of concurrent threads share calls, and are asked again where an answer is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery.exceptions import ImproperlyConfigured

from cutmv.backends.cloudflare import calls as module
from cutmv.backends.cloudflare.calls import MAX_BYTES, MAX_OPS, Calls
from cutmv.transports.cloudflare.errors import AccessDenied, CloudflareError, NotFound, Unreachable


class Worker:
    """Answers each operation with its key; what is in `errors` comes first."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.errors: list[BaseException] = []
        self.go = threading.Event()
        self.go.set()
        self.lock = threading.Lock()

    def ask(self, path: str, body: bytes, timeout: float) -> Mapping[str, Any]:
        assert (path, timeout > 0, len(body) < 1_048_576) == ("/v1/results", True, True)
        ops = json.loads(body)["ops"]
        with self.lock:
            self.calls.append(ops)
            error = self.errors.pop(0) if self.errors else None
        assert self.go.wait(10)
        if error:
            raise error
        return {"answers": [{"value": op["key"]} for op in ops]}


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def calls(worker: Worker) -> Calls:
    return Calls(worker.ask, "edge.example")


def get(key: str) -> dict[str, Any]:
    return {"op": "get", "key": key}


def test_a_single_caller_makes_a_call_at_once(worker: Worker, calls: Calls) -> None:
    assert calls.perform([get("a"), get("b")]) == [{"value": "a"}, {"value": "b"}]
    assert [len(each) for each in worker.calls] == [2]
    assert calls.perform([]) == []


def test_those_that_come_meanwhile_share_the_next_call(worker: Worker, calls: Calls) -> None:
    worker.go.clear()
    keys = [str(n) for n in range(40)]
    with ThreadPoolExecutor(40) as pool:
        made = [pool.submit(calls.perform, [get(key)]) for key in keys]
        while len(worker.calls) < 2 or len(calls._waiting) < 38:
            pass
        worker.go.set()
        assert [each.result() for each in made] == [[{"value": key}] for key in keys]
    assert sorted(len(each) for each in worker.calls)[:2] == [1, 1]
    assert len(worker.calls) <= 4
    assert calls._under_way == 0


def test_many_operations_are_split_into_calls_that_fit(worker: Worker, calls: Calls) -> None:
    ops = [get(f"{n}") for n in range(MAX_OPS + 1)]
    large = [{**get(f"l{n}"), "value": "é" * 150_000} for n in range(5)]
    answers = calls.perform([*ops, *large])
    assert [each["value"] for each in answers] == [op["key"] for op in [*ops, *large]]
    assert [len(each) for each in worker.calls] == [MAX_OPS, 4, 2]
    assert all(
        len(json.dumps(each, ensure_ascii=False).encode()) < MAX_BYTES * 1.05
        for each in worker.calls
    )


def test_a_lost_answer_is_asked_for_again(worker: Worker, calls: Calls) -> None:
    worker.errors = [Unreachable("lost"), Unreachable("lost")]
    assert calls.perform([get("a")]) == [{"value": "a"}]
    assert len(worker.calls) == 3


def test_what_the_worker_left_for_the_next_call_is_asked_again(calls: Calls) -> None:
    asked: list[list[str]] = []

    def ask(path: str, body: bytes, timeout: float) -> Mapping[str, Any]:
        keys = [op["key"] for op in json.loads(body)["ops"]]
        asked.append(keys)
        return {"answers": [{"value": keys[0]}, *({"again": True} for _ in keys[1:])]}

    calls._ask = ask
    assert calls.perform([get("a"), get("b")]) == [{"value": "a"}, {"value": "b"}]
    assert asked == [["a", "b"], ["b"]]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (AccessDenied("wrong key", status=401), AccessDenied),
        (NotFound("No such route.", status=404), ImproperlyConfigured),
    ],
)
def test_what_does_not_pass_is_raised_at_once(
    worker: Worker, calls: Calls, error: CloudflareError, raised: type[Exception]
) -> None:
    worker.errors = [error]
    with pytest.raises(raised):
        calls.perform([get("a")])
    assert len(worker.calls) == 1


def test_patience_ends(worker: Worker, calls: Calls) -> None:
    worker.errors = [Unreachable("away") for _ in range(100)]
    with pytest.raises(Unreachable):
        calls.perform([get("a")], patience=0.3)


def test_one_who_is_interrupted_hands_over(
    worker: Worker, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 1)
    worker.errors = [KeyboardInterrupt()]
    worker.go.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(calls.perform, [get("a")])
        while not worker.calls:
            pass
        others = [pool.submit(calls.perform, [get(key)]) for key in "bc"]
        while len(calls._waiting) < 2:
            pass
        worker.go.set()
        with pytest.raises(KeyboardInterrupt):
            first.result()
        assert [each.result() for each in others] == [[{"value": "b"}], [{"value": "c"}]]
    assert (calls._under_way, len(calls._waiting)) == (0, 0)


def test_an_answer_that_is_none_is_no_result(calls: Calls) -> None:
    calls._ask = lambda *_: {"answers": []}
    with pytest.raises(CloudflareError, match="none to operations"):
        calls.perform([get("a")], patience=0.2)
