"""A stranger's Celery app on Cloudflare alone, broker and results, compared with one on Redis.

Every test runs on both, with real workers: the emulator of the queues and the real edge Worker, or
a real Redis.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group, states
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import AsyncResult, GroupResult

from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.processes import wait_for
from tests.support.redis import RedisServer
from tests.support.transport import CloudflareSite, RedisSite, Site, WorkerProcess

pytestmark = [pytest.mark.edge, pytest.mark.slow]

APP = "tests.support.results_app"

#: Seconds for a task to run, on a busy machine.
SOON_S = 60

#: Processes of the worker.
POOL = 4


class Place:
    """One of the two places: its site, and the stranger's app in this process."""

    def __init__(self, site: Site, results: str, options: dict[str, Any]) -> None:
        self.site = site
        site.app = APP
        site.broker |= {"TRANSPORT_RESULTS": results}
        self.options = options
        self.on_redis = isinstance(site, RedisSite)

    def load(self, patch: pytest.MonkeyPatch) -> None:
        for name, value in self.site.env(**self.options).items():
            patch.setenv(name, value)
        sys.modules.pop(APP, None)
        self.tasks: Any = importlib.import_module(APP)

    def worker(self, *args: str, **more: Any) -> WorkerProcess:
        """Start a worker, and return when it takes tasks."""
        return self.site.ready(self.site.worker("-c", str(POOL), *args, **self.options, **more))

    def conf(self, **conf: Any) -> dict[str, dict[str, str]]:
        return {"env": {"TRANSPORT_CONF": json.dumps(conf)}}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, hub_worker: Worker) -> Worker:
    return hub_worker


@pytest.fixture(scope="module", params=["cloudflare", "redis"])
def place(
    request: pytest.FixtureRequest, edge: Worker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp(request.param)
    server: RedisServer | EmulatorProcess
    if request.param == "redis":
        server = RedisServer(folder)
        server.start()
        place = Place(RedisSite(server.url, folder), server.url, {})
    else:
        server = EmulatorProcess(folder / "emulator.sqlite3", 0, True)
        server.start()
        site = CloudflareSite(server, folder)
        site.broker |= {"CLOUDFLARE_EDGE_URL": edge.url, "CLOUDFLARE_EDGE_KEYS": KEY}
        place = Place(site, "cloudflare://", {"queue_name_prefix": f"{uuid4().hex[:8]}-"})
    with pytest.MonkeyPatch.context() as patch:
        place.load(patch)
        try:
            place.worker()
            yield place
        finally:
            place.site.close()
            place.tasks.app.close()
            server.kill()


@pytest.fixture
def tasks(place: Place) -> Any:
    return place.tasks


def noted(place: Place, event: str) -> list[dict[str, Any]]:
    return place.site.notes(event)


def test_a_result_comes_back_with_its_state(tasks: Any) -> None:
    result = tasks.add.delay(2, 3)
    assert result.get(timeout=SOON_S) == 5
    assert (result.state, result.ready(), result.successful(), result.failed()) == (
        states.SUCCESS,
        True,
        True,
        False,
    )
    assert AsyncResult(result.id, app=tasks.app).result == 5
    assert AsyncResult(result.id, app=tasks.app).date_done is not None


def test_an_error_comes_back_with_its_traceback(tasks: Any) -> None:
    result = tasks.fail.delay("wrong")
    with pytest.raises(ValueError, match="wrong"):
        result.get(timeout=SOON_S)
    assert result.state == states.FAILURE
    assert "ValueError: wrong" in result.traceback
    assert isinstance(result.get(propagate=False), ValueError)


def test_a_retry_is_told_and_ends_well(tasks: Any) -> None:
    assert tasks.flaky.delay(2).get(timeout=SOON_S) == 3


def test_progress_is_told_to_who_waits(tasks: Any, tmp_path: Path) -> None:
    until, seen = tmp_path / "go", []
    result = tasks.stepwise.delay(str(until))

    def on_message(meta: dict[str, Any]) -> None:
        seen.append((meta["status"], meta["result"]))
        if meta["status"] == "PROGRESS":
            until.touch()

    assert result.get(timeout=SOON_S, on_message=on_message) == "done"
    assert ("PROGRESS", {"done": 1, "of": 2}) in seen


def test_a_task_knows_its_children(tasks: Any) -> None:
    result = tasks.parent.delay()
    child = result.get(timeout=SOON_S)
    assert [each.id for each in result.children] == [child]
    assert result.children[0].get(timeout=SOON_S) == 2


def test_what_is_ignored_is_not_kept_but_its_errors_may_be(tasks: Any) -> None:
    ignored, kept = tasks.ignored.delay(1), tasks.ignored_error.delay()
    with pytest.raises(ValueError, match="kept"):
        AsyncResult(kept.id, app=tasks.app).get(timeout=SOON_S)
    tasks.add.delay(1, 1).get(timeout=SOON_S)
    assert AsyncResult(ignored.id, app=tasks.app).state == states.PENDING


def test_a_large_result_comes_back(tasks: Any) -> None:
    assert tasks.large.delay(1_500_000).get(timeout=SOON_S) == "é" * 1_500_000


def test_a_forgotten_result_is_gone(tasks: Any) -> None:
    result = tasks.add.delay(1, 2)
    assert result.get(timeout=SOON_S) == 3
    result.forget()
    assert AsyncResult(result.id, app=tasks.app).state == states.PENDING


def test_then_is_called_with_the_result(tasks: Any) -> None:
    called: list[Any] = []
    result = tasks.add.delay(3, 4)
    result.then(lambda each: called.append(each.result))
    result.get(timeout=SOON_S)
    assert called == [7]


def test_a_chain(tasks: Any) -> None:
    result = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4)).delay()
    assert result.get(timeout=SOON_S) == 10
    assert result.parent.parent.get(timeout=SOON_S) == 3


def test_an_error_in_a_chain_is_the_chain_s(tasks: Any) -> None:
    result = chain(tasks.add.s(1, 2), tasks.fail.si("broken"), tasks.add.s(4)).delay()
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=SOON_S)


def test_a_group_joins_in_order_and_iterates(tasks: Any) -> None:
    result = group(tasks.add.s(n, n) for n in range(100)).delay()
    assert result.get(timeout=SOON_S) == [2 * n for n in range(100)]
    again = GroupResult(result.id, [AsyncResult(each.id, app=tasks.app) for each in result.results])
    assert sorted(meta["result"] for _, meta in again.iter_native()) == [2 * n for n in range(100)]
    assert again.completed_count() == 100


def test_a_group_is_saved_and_restored(tasks: Any) -> None:
    result = group(tasks.add.s(n, 1) for n in range(5)).delay()
    result.save()
    restored = GroupResult.restore(result.id, app=tasks.app)
    assert restored.get(timeout=SOON_S) == [1, 2, 3, 4, 5]
    restored.delete()
    assert GroupResult.restore(result.id, app=tasks.app) is None


def test_an_error_in_a_group_is_raised_or_returned(tasks: Any) -> None:
    result = group(tasks.add.s(1, 1), tasks.fail.s("one")).delay()
    with pytest.raises(ValueError, match="one"):
        result.get(timeout=SOON_S)
    returned = result.get(timeout=SOON_S, propagate=False)
    assert returned[0] == 2
    assert isinstance(returned[1], ValueError)


def test_a_chord_of_1000_fires_once(place: Place, tasks: Any) -> None:
    before = len(noted(place, "total"))
    began = time.monotonic()
    result = chord((tasks.add.s(n, n) for n in range(1000)), tasks.total.s()).delay()
    assert result.get(timeout=240) == 2 * sum(range(1000))
    print(f"a chord of 1,000: {time.monotonic() - began:.1f} s")
    tasks.add.delay(1, 1).get(timeout=SOON_S)
    assert [each["count"] for each in noted(place, "total")[before:]] == [1000]


def test_nested_chords(tasks: Any) -> None:
    inner = [chord([tasks.add.s(n, m) for m in range(3)], tasks.total.s()) for n in range(3)]
    outer = chord(inner, tasks.total.s()).delay()
    assert outer.get(timeout=SOON_S) == sum(3 * n + 3 for n in range(3))


def test_groups_of_chords_and_chords_of_groups(tasks: Any) -> None:
    chords = group(chord([tasks.add.s(n, 1), tasks.add.s(n, 2)], tasks.total.s()) for n in range(3))
    assert chords.delay().get(timeout=SOON_S) == [3, 5, 7]
    groups = chord(
        [group(tasks.add.s(n, 1), tasks.add.s(n, 2)) for n in range(2)], tasks.gather.s()
    )
    assert sorted(groups.delay().get(timeout=SOON_S)) == [1, 2, 2, 3]  # Celery flattens them


def test_chains_in_chords_and_chords_in_chains(tasks: Any) -> None:
    header = [chain(tasks.add.si(n, 1), tasks.add.s(10)) for n in range(3)]
    canvas = chain(tasks.add.si(0, 0), chord(header, tasks.total.s()), tasks.add.s(100))
    assert canvas.delay().get(timeout=SOON_S) == 11 + 12 + 13 + 100


def test_a_group_between_two_tasks_is_a_chord(tasks: Any) -> None:
    canvas = tasks.add.s(1, 1) | group(tasks.add.s(n) for n in range(3)) | tasks.total.s()
    assert canvas.delay().get(timeout=SOON_S) == 9


def test_a_task_may_become_a_chord(tasks: Any) -> None:
    assert tasks.replaced.delay(5).get(timeout=SOON_S) == 20


def test_a_chord_whose_parts_results_are_ignored_gets_them_all_the_same(tasks: Any) -> None:
    result = chord([tasks.ignored.s(n) for n in range(5)], tasks.total.s()).delay()
    assert result.get(timeout=SOON_S) == 10


def test_an_error_in_a_header_fails_the_body_and_calls_its_errbacks(
    place: Place, tasks: Any
) -> None:
    body = tasks.total.s().on_error(tasks.errback.s())
    result = chord([tasks.add.s(1, 1), tasks.fail.s("in the header")], body).delay()
    error = result.get(timeout=SOON_S, propagate=False)
    assert isinstance(error, ChordError)
    assert "in the header" in str(error)
    wait_for(lambda: noted(place, "errback"), SOON_S, "the errback is called")
    assert "in the header" in noted(place, "errback")[-1]["error"]


def test_an_error_in_an_inner_chord_fails_the_outer_one(tasks: Any) -> None:
    inner = chord([tasks.fail.s("deep"), tasks.add.s(1, 1)], tasks.total.s())
    result = chord([tasks.add.s(1, 1), inner], tasks.gather.s()).delay()
    with pytest.raises(ChordError, match="deep"):
        result.get(timeout=SOON_S)


def test_callbacks_and_errbacks_run(place: Place, tasks: Any) -> None:
    tasks.add.apply_async((5, 6), link=tasks.callback.s())
    wait_for(lambda: [e["value"] for e in noted(place, "callback")] == [11], SOON_S, "callback")
    failed = tasks.fail.apply_async(("linked",), link_error=tasks.errback_by_id.s())
    wait_for(
        lambda: [e["id"] for e in noted(place, "errback by id")] == [failed.id], SOON_S, "errback"
    )


def test_a_revoked_task_is_told_as_revoked(tasks: Any) -> None:
    result = tasks.add.apply_async((1, 1), countdown=2)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=SOON_S)
    assert result.state == states.REVOKED


def test_extended_results_tell_name_arguments_and_queue(place: Place, tasks: Any) -> None:
    extended = place.worker("-Q", "extended", **place.conf(result_extended=True))
    result = tasks.add.apply_async((20, 3), queue="extended")
    assert result.get(timeout=SOON_S) == 23
    kept = AsyncResult(result.id, app=tasks.app)
    assert (kept.name, kept.args, kept.queue) == (f"{APP}.add", [20, 3], "extended")
    extended.term()


def test_results_expire(place: Place, tasks: Any) -> None:
    short = place.worker("-Q", "short", **place.conf(result_expires=2))
    result = tasks.add.apply_async((1, 1), queue="short")
    assert result.get(timeout=SOON_S) == 2
    wait_for(
        lambda: AsyncResult(result.id, app=tasks.app).state == states.PENDING, SOON_S, "expired"
    )
    short.term()


def test_a_killed_worker_s_part_counts_once(place: Place, tasks: Any, tmp_path: Path) -> None:
    if place.on_redis:
        pytest.skip("Redis gives a killed worker's message back after an hour")
    # Short leases, so that what the killed worker holds comes back soon.
    place.options["visibility_timeout"] = 5
    queue, until, before = "killed", tmp_path / "go", len(noted(place, "total"))
    doomed = place.worker("-Q", queue)
    header = [tasks.hold.s(n, str(until)).set(queue=queue) for n in range(3)]
    result = chord(header, tasks.total.s()).delay()
    wait_for(lambda: len(noted(place, "started")) >= 3, SOON_S, "all parts run")
    doomed.kill()
    until.touch()
    heir = place.worker("-Q", queue)
    assert result.get(timeout=120) == 3
    assert len(noted(place, "total")) == before + 1
    heir.term()
