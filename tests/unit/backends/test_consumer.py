"""Waiting for results: what is read, when, and what a thread must not miss."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery, states
from celery.result import AsyncResult, GroupResult

from cutmv.backends.cloudflare import consumer as module
from cutmv.backends.cloudflare.consumer import ResultConsumer
from cutmv.transports.cloudflare.errors import AccessDenied, CloudflareError, Unreachable


class Hub:
    """A connection whose news a test sends."""

    def __init__(self) -> None:
        self.told = True
        self.listeners: list[Any] = []

    def listen(self, listener: Any) -> None:
        self.listeners.append(listener)


class Backend:
    """Keeps states, and notes what was asked for."""

    def __init__(self) -> None:
        self.connection = Hub()
        self.states: dict[str, dict[str, Any]] = {}
        self.asked: list[list[str]] = []
        self.error: CloudflareError | None = None

    def watch(self, task_ids: Sequence[str], patience: float) -> list[dict[str, Any]]:
        self.asked.append(list(task_ids))
        if self.error:
            raise self.error
        return [self.states[each] for each in task_ids if each in self.states]

    def meta_of(self, value: str) -> dict[str, Any]:
        return self.states[value]

    def task_id_of(self, key: str) -> str:
        return key

    def done(self, task_id: str) -> None:
        self.states[task_id] = {
            "task_id": task_id, "status": states.SUCCESS, "result": 1, "children": None
        }  # fmt: skip


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def consumer(backend: Backend) -> ResultConsumer:
    app = Celery("waits", backend="cache+memory://")
    return ResultConsumer(
        backend, app, set(), app.backend._pending_results, app.backend._pending_messages
    )


def test_a_group_is_asked_for_by_one_call(consumer: ResultConsumer, backend: Backend) -> None:
    ids = [str(n) for n in range(50)]
    for each in ids:
        consumer.consume_from(each)
    assert backend.asked == []
    consumer.drain_events(timeout=0.01)
    assert backend.asked == [ids]
    consumer.drain_events(timeout=0.01)
    assert len(backend.asked) == 1, "from now on the hub tells"


def test_what_is_there_needs_no_hub(consumer: ResultConsumer, backend: Backend) -> None:
    backend.done("a")
    consumer.consume_from("a")
    consumer.drain_events(timeout=10)
    assert backend.connection.listeners == []
    assert consumer._read_at == {}


def test_a_large_result_and_a_new_connection_are_read(
    consumer: ResultConsumer, backend: Backend
) -> None:
    consumer.consume_from("a")
    consumer.drain_events(timeout=0.01)
    consumer.news("a", None)
    consumer.drain_events(timeout=5)
    consumer.drain_events(timeout=0.01)
    assert len(backend.asked) == 2
    consumer.stale()
    consumer.drain_events(timeout=5)
    consumer.drain_events(timeout=0.01)
    assert len(backend.asked) == 3
    consumer.news("unknown", "x")
    consumer.drain_events(timeout=0.01)
    assert consumer._inbox == module.deque()


def test_without_a_hub_results_are_read_again_and_again(
    consumer: ResultConsumer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_EVERY_ALONE", 0.05)
    backend.connection.told = False
    consumer.consume_from("a")
    end = time.monotonic() + 10
    while len(backend.asked) < 3 and time.monotonic() < end:
        consumer.drain_events(timeout=0.2)
    assert len(backend.asked) == 3


def test_a_worker_that_is_away_is_waited_for_and_told_in_the_end(
    consumer: ResultConsumer, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.error = Unreachable("away")
    consumer.consume_from("a")
    with pytest.raises(TimeoutError):
        consumer.drain_events(timeout=0.01)
    monkeypatch.setattr(module, "AWAY_FOR", 0.0)
    with pytest.raises(Unreachable):
        consumer.drain_events(timeout=0.01)
    backend.error = AccessDenied("wrong key")
    with pytest.raises(AccessDenied):
        consumer.drain_events(timeout=0.01)


def test_a_thread_learns_of_what_another_drained_before_it_waited(
    consumer: ResultConsumer, backend: Backend
) -> None:
    consumer.consume_from("a")
    consumer.drain_events(timeout=0.01)
    consumer.drain_events(timeout=0.01)
    backend.done("a")
    consumer.news("a", "a")
    other = threading.Thread(target=consumer.drain_events, kwargs={"timeout": 5})
    other.start()
    other.join()
    began = time.monotonic()
    consumer.consume_from("b")
    consumer._read_at["b"] = began
    consumer.drain_events(timeout=5)
    assert time.monotonic() - began < 2


def test_the_tasks_of_nested_groups_are_waited_for() -> None:
    app = Celery("nested", backend="cache+memory://")
    leaves = [AsyncResult(name, app=app) for name in "abc"]
    leaves[1]._cache = {"status": states.SUCCESS}
    nested = GroupResult("g", [leaves[0], GroupResult("h", leaves[1:], app=app)], app=app)
    assert list(module._leaves(nested)) == ["a", "c"]
