"""The result backend over the real Worker, without brokers: what is kept, told, and ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from celery import Celery, states
from celery.exceptions import BackendStoreError, ImproperlyConfigured, TimeoutError
from celery.result import AsyncResult, GroupResult

from cutmv.backends.cloudflare import connection, values
from cutmv.transports.cloudflare.edge import to_edge
from cutmv.transports.cloudflare.errors import CloudflareError
from tests.support.edge_worker import KEY, Worker, signed
from tests.support.line import Line
from tests.support.processes import slowness, wait_for

pytestmark = pytest.mark.edge

#: Seconds for a result to come, on a busy machine.
SOON_S = 20


def app_of(url: str, **conf: Any) -> Celery:
    """A stranger's app, whose results the Worker keeps."""
    app = Celery(f"stranger-{uuid4().hex}", broker="memory://", backend="cloudflare://")
    app.conf.update(result_backend_transport_options={"edge_url": url, "edge_keys": KEY}, **conf)
    return app


@pytest.fixture
def app(hub_worker: Worker) -> Iterator[Celery]:
    with app_of(hub_worker.url) as app:
        yield app


def in_a_thread(act: Callable[[], Any], after_s: float) -> threading.Timer:
    timer = threading.Timer(after_s, act)
    timer.start()
    return timer


@pytest.mark.parametrize(
    "value",
    [None, 0, "", "é\U0001f3b5\0\x01", {"a": [1, {"b": None}]}, "x" * 300_000, "é" * 1_500_000],
    ids=["none", "zero", "empty", "odd", "nested", "large", "larger"],
)
def test_a_result_is_read_as_it_was_stored(app: Celery, value: Any) -> None:
    task_id = uuid4().hex
    assert AsyncResult(task_id, app=app).state == states.PENDING
    app.backend.store_result(task_id, value, states.SUCCESS)
    result = AsyncResult(task_id, app=app)
    assert result.get(timeout=SOON_S) == value
    assert (result.state, result.ready(), result.successful()) == (states.SUCCESS, True, True)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_all_serializers_and_compressions_are_kept(
    hub_worker: Worker, serializer: str, compression: str | None
) -> None:
    more = {"result_accept_content": [serializer], "result_compression": compression}
    with app_of(hub_worker.url, result_serializer=serializer, **more) as app:
        task_id = uuid4().hex
        app.backend.store_result(task_id, {"n": [1, 2], "text": "é"}, states.SUCCESS)
        assert AsyncResult(task_id, app=app).get(timeout=SOON_S) == {"n": [1, 2], "text": "é"}


def test_what_is_too_large_is_refused_in_one_line(app: Celery) -> None:
    with pytest.raises(BackendStoreError, match="keep it elsewhere, and return its name"):
        app.backend.store_result(uuid4().hex, "x" * (values.LARGEST + 1), states.SUCCESS)


def test_who_waits_is_told_at_once(app: Celery) -> None:
    waits = []
    AsyncResult(uuid4().hex, app=app).backend  # noqa: B018
    for turn in range(4):
        task_id = uuid4().hex
        stored: list[float] = []

        def store(task_id: str = task_id, stored: list[float] = stored) -> None:
            app.backend.store_result(task_id, "here", states.SUCCESS)
            stored.append(time.monotonic())

        timer = in_a_thread(store, 0.2 + turn / 20)
        assert AsyncResult(task_id, app=app).get(timeout=SOON_S) == "here"
        waits.append(time.monotonic())
        timer.join()
        waits[-1] -= stored[0]
    print("seconds from the end of the store:", [round(each, 4) for each in waits])
    # Reads would take 45 s; the first wait opens the connection.
    assert sorted(waits)[2] < 0.25 * slowness()


def test_a_state_that_is_not_the_last_is_told_too(app: Celery) -> None:
    task_id, seen = uuid4().hex, []
    result = AsyncResult(task_id, app=app)

    def work() -> None:
        for state, value in [
            (states.STARTED, {"pid": 1}),
            ("PROGRESS", {"done": 1}),
            (states.SUCCESS, "end"),
        ]:
            app.backend.store_result(task_id, value, state)
            time.sleep(0.2)

    timer = in_a_thread(work, 1.0)
    assert result.get(timeout=SOON_S, on_message=seen.append) == "end"
    timer.join()
    told = [each["status"] for each in seen]
    assert told[-3:] == [states.STARTED, "PROGRESS", states.SUCCESS]


def test_success_stays_whatever_comes_later(app: Celery) -> None:
    task_id = uuid4().hex
    backend = app.backend
    backend.store_result(task_id, ValueError("first"), states.FAILURE)
    backend.store_result(task_id, 1, states.SUCCESS)
    backend.store_result(task_id, 2, states.SUCCESS)
    backend.store_result(task_id, ValueError("late"), states.FAILURE)
    assert AsyncResult(task_id, app=app).get(timeout=SOON_S) == 1


def test_an_error_is_raised_with_its_type(app: Celery) -> None:
    task_id = uuid4().hex
    app.backend.store_result(task_id, KeyError("k"), states.FAILURE, traceback="a traceback")
    result = AsyncResult(task_id, app=app)
    with pytest.raises(KeyError, match="k"):
        result.get(timeout=SOON_S)
    assert (result.traceback, result.failed()) == ("a traceback", True)


def test_a_wait_ends_in_time(app: Celery) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        AsyncResult(uuid4().hex, app=app).get(timeout=1)
    assert time.monotonic() - began < 4


def test_a_forgotten_result_is_gone_and_its_object_with_it(app: Celery) -> None:
    task_id = uuid4().hex
    app.backend.store_result(task_id, "x" * 300_000, states.SUCCESS)
    result = AsyncResult(task_id, app=app)
    assert len(result.get(timeout=SOON_S)) == 300_000
    result.forget()
    assert AsyncResult(task_id, app=app).state == states.PENDING


@pytest.mark.slow
def test_results_expire_and_what_they_left_in_the_bucket(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(RESULTS_SWEEP_S="1")
    with app_of(worker.url, result_expires=3, result_failure_expires=60) as app:
        ids = [uuid4().hex for _ in range(3)]
        app.backend.store_result(ids[0], 1, states.SUCCESS)
        app.backend.store_result(ids[1], "x" * 300_000, states.SUCCESS)
        app.backend.store_result(ids[2], ValueError("kept"), states.FAILURE)
        value = worker.post("/v1/results", {"ops": [{"op": "get", "key": key_of(ids[1])}]})
        name = value.json()["answers"][0]["value"].removeprefix(values.LARGE)
        assert connection.connection_to(worker.url, KEY).read_large(name)
        wait_for(lambda: state(app, ids[0]) == state(app, ids[1]) == states.PENDING, 30)
        assert state(app, ids[2]) == states.FAILURE

        def gone() -> bool:
            try:
                connection.connection_to(worker.url, KEY).read_large(name)
            except CloudflareError as error:
                return error.status == 410
            return False

        wait_for(gone, 30, "the object is deleted")


def key_of(task_id: str) -> str:
    return f"celery-task-meta-{task_id}"


def state(app: Celery, task_id: str) -> str:
    return str(app.backend.get_task_meta(task_id, cache=False)["status"])


@pytest.mark.slow
def test_a_group_is_saved_restored_and_joined(app: Celery) -> None:
    ids = [uuid4().hex for _ in range(300)]
    group = GroupResult(uuid4().hex, [AsyncResult(each, app=app) for each in ids], app=app)
    group.save()

    def store() -> None:
        with ThreadPoolExecutor(8) as pool:
            calls = [
                pool.submit(app.backend.store_result, each, n, states.SUCCESS)
                for n, each in enumerate(ids)
            ]
            assert all(call.result() is not None for call in calls)

    timer = in_a_thread(store, 0.5)
    restored = GroupResult.restore(group.id, app=app)
    assert restored.get(timeout=60) == list(range(300))
    timer.join()
    restored.delete()
    assert GroupResult.restore(group.id, app=app) is None


def test_many_threads_wait_each_for_its_own(app: Celery) -> None:
    ids = [uuid4().hex for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        waits = [pool.submit(AsyncResult(each, app=app).get, timeout=60) for each in ids]
        time.sleep(0.5)
        for each in ids:
            app.backend.store_result(each, each, states.SUCCESS)
        assert [wait.result() for wait in waits] == ids


@pytest.mark.slow
def test_who_lost_the_hub_gets_the_result_all_the_same(hub_worker: Worker) -> None:
    line = Line(urlsplit(hub_worker.url).port or 0)
    with app_of(f"http://127.0.0.1:{line.port}") as app, app_of(hub_worker.url) as other:
        task_id = uuid4().hex
        with ThreadPoolExecutor() as pool:
            wait = pool.submit(AsyncResult(task_id, app=app).get, timeout=60)
            here = connection.connection_to(f"http://127.0.0.1:{line.port}", KEY)
            wait_for(lambda: here.told, 30, "the hub is connected")
            line.cut()
            other.backend.store_result(task_id, "found", states.SUCCESS)
            began = time.monotonic()
            assert wait.result() == "found"
            assert time.monotonic() - began < 30
    line.close()


def test_without_a_worker_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOUDFLARE_EDGE_URL", "CLOUDFLARE_EDGE_KEYS"):
        monkeypatch.delenv(name, raising=False)
    with (
        Celery("lost", broker="memory://", backend="cloudflare://") as app,
        pytest.raises(ImproperlyConfigured, match="deploy edge/, then set CLOUDFLARE_EDGE_URL"),
    ):
        app.backend  # noqa: B018


def test_a_worker_without_results_is_named(worker_without_results: str) -> None:
    with (
        app_of(worker_without_results) as app,
        pytest.raises(ImproperlyConfigured, match="keeps no results: deploy edge/ anew"),
    ):
        app.backend.get_task_meta(uuid4().hex)


@pytest.fixture
def worker_without_results(hub_worker: Worker) -> str:
    return f"{hub_worker.url}/former"  # where every route is unknown, as it was before


def test_only_who_has_a_key_reads_or_writes_and_each_call_once(hub_worker: Worker) -> None:
    op = {"op": "delete", "key": "k"}
    assert hub_worker.post("/v1/results", {"ops": [op]}, keys=("another",)).status_code == 401
    body = json.dumps({"ops": [op]}).encode()
    headers = signed(body, to_edge("POST", "/v1/results"))
    answers = [
        hub_worker.http.post(hub_worker.url + "/v1/results", content=body, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 409]


@pytest.mark.parametrize(
    ("op", "word"),
    [
        ({"op": "get"}, "key"),
        ({"op": "steal", "key": "k"}, "op"),
        ({"op": "get", "key": "é" * 257}, "512 bytes"),
        (
            {"op": "put", "key": "k", "value": "t", "ready": 1, "final": False, "seconds": 1},
            "ready",
        ),
        ({"op": "expire", "key": "k", "seconds": -1}, "seconds"),
        ({"op": "part", "key": "k", "place": "0"}, "place"),
    ],
)
def test_what_does_not_fit_is_a_problem(hub_worker: Worker, op: dict[str, Any], word: str) -> None:
    answer = hub_worker.post("/v1/results", {"ops": [op]})
    assert answer.status_code == 400
    assert word in answer.json()["detail"]


# Chords.


def part(app: Celery, group_id: str, task_id: str, index: int, value: Any, body: Any) -> None:
    """Have a part of a header return."""
    request = SimpleNamespace(id=task_id, group=group_id, group_index=index, chord=body)
    app.backend.on_chord_part_return(request, states.SUCCESS, value)


@pytest.mark.slow
def test_a_chord_of_1000_fires_once_though_each_part_returns_twice(app: Celery) -> None:
    published: list[Any] = []
    app.amqp._retry_publish = lambda _, returned: published.append(returned)  # type: ignore[method-assign]
    body = app.signature("body")
    group_id, ids = uuid4().hex, [uuid4().hex for _ in range(1000)]
    app.backend.set_chord_size(group_id, len(ids))
    turns = [(n, each) for n, each in enumerate(ids)] * 2
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda turn: part(app, group_id, turn[1], turn[0], turn[0], body), turns))
    assert published == [list(range(1000))]
    part(app, group_id, ids[7], 7, 7, body)  # later still
    assert len(published) == 1


@pytest.mark.slow
def test_the_copy_of_a_part_takes_over_from_one_that_died(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[Any] = []
    app.amqp._retry_publish = lambda _, returned: published.append(returned)  # type: ignore[method-assign]
    backend, body, group_id = app.backend, app.signature("body"), uuid4().hex
    monkeypatch.setattr(type(backend), "_claim_seconds", 2)
    backend.set_chord_size(group_id, 2)
    part(app, group_id, "a", 0, "A", body)

    with monkeypatch.context() as patch:
        patch.setattr(backend, "_returned", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            part(app, group_id, "b", 1, "B", body)
    assert not published
    part(app, group_id, "b", 1, "B", body)
    assert published == [["A", "B"]]
