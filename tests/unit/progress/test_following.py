"""What one who follows a job alone is told, by `cutmv.progress.live`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cutmv.jobs import Claimed, Claims, Deletions, Job, JobStore, Output, UnknownJob
from cutmv.media import Progress
from cutmv.people import Accounts
from cutmv.progress import Ending, Live, ProgressEvent, ProgressFeed, View
from tests.support.jobs import add_job
from tests.support.watchers import Alone, Tab


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield store
    store.close()


@pytest.fixture
def live(store: JobStore) -> Live:
    return Live(store, ProgressFeed())


def event(job: Job, step: int = 0, percent: Any = 10.0, **more: Any) -> ProgressEvent:
    """An event in its wire form, as a receiver reads it."""
    fields = {"uuid": job.steps[step].id, "job_id": job.id, "stage": "cutting"}
    read = ProgressEvent.from_wire({**fields, "percent": percent, "fps": 30.0, **more})
    assert read is not None
    return read


def claim(store: JobStore, job: Job, step: int = 0) -> tuple[Claims, Claimed]:
    claims = Claims(store, "an owner")
    claimed = claims.claim(job.steps[step].id, "redis")
    assert isinstance(claimed, Claimed)
    return claims, claimed


def finish(store: JobStore, job: Job, step: int = 0) -> None:
    claims, claimed = claim(store, job, step)
    claims.finish(claimed.step, Output("key", 1, "video/mp4"))


def test_a_follower_gets_a_snapshot_then_events_then_the_end(store: JobStore, live: Live) -> None:
    job = add_job(store)
    follower = Alone(live, job.id)

    live.take([event(job, percent=10.0)])
    for step in range(2):
        finish(store, job, step)
    live.look()

    first, progress, *_, last = follower.told
    assert (first["type"], first["job"]["state"]) == ("snapshot", "queued")
    assert {name: progress[name] for name in ("type", "job_id", "step_id", "percent", "fps")} == {
        "type": "progress",
        "job_id": job.id,
        "step_id": job.steps[0].id,
        "percent": 10.0,
        "fps": 30.0,
    }
    assert (last["type"], last["job"]["state"]) == ("snapshot", "done")
    assert follower.ended is Ending.JOB_ENDED


def test_progress_that_came_without_an_event_is_found_in_the_store(
    store: JobStore, live: Live
) -> None:
    job = add_job(store)
    follower = Alone(live, job.id)
    claims, claimed = claim(store, job)
    live.look()

    claims.beat(claimed.step, "cutting", Progress(33.0))
    live.look()

    assert follower.percents == [33.0]


def test_progress_never_goes_back(store: JobStore, live: Live) -> None:
    job = add_job(store)
    follower = Alone(live, job.id)

    for percent in (50.0, 20.0, 60.0):
        live.take([event(job, percent=percent)])

    assert follower.percents == [50.0, 60.0]


def test_progress_goes_not_behind_the_snapshot_of_who_comes_later(
    store: JobStore, live: Live
) -> None:
    job = add_job(store)
    first = Alone(live, job.id)
    claims, claimed = claim(store, job)
    live.look()
    claims.beat(claimed.step, "cutting", Progress(50.0))
    second = Alone(live, job.id)

    live.take([event(job, percent=40.0)])
    live.take([event(job, percent=60.0)])

    assert first.percents == [50.0, 60.0]
    assert second.told[0]["job"]["steps"][0]["percent"] == 50.0
    assert second.percents == [60.0]


def test_who_comes_after_the_end_gets_the_last_snapshot(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    finish(store, job)

    follower = Alone(live, job.id)
    live.take([event(job, percent=99.0)])

    assert [each["job"]["state"] for each in follower.told] == ["done"]
    assert follower.ended is Ending.JOB_ENDED


def test_events_of_other_jobs_and_of_strangers_are_not_told(store: JobStore, live: Live) -> None:
    job, other = add_job(store), add_job(store)
    follower = Alone(live, job.id)

    live.take([event(other, percent=10.0), event(other, percent=20.0, job_id=job.id)])
    live.take([event(job, percent="40")])
    live.take([event(job, percent=30.0)])

    assert follower.percents == [30.0]


def test_a_follower_ends_with_the_job_and_finds_none_that_is_gone_or_another_s(
    store: JobStore, live: Live
) -> None:
    ann = str(Accounts(store.engine).add("ann@example.com").id)
    job = add_job(store, person_id=ann)
    follower = Alone(live, job.id, ann)
    with pytest.raises(UnknownJob):
        Alone(live, job.id, "another")

    Deletions(store).job(job.id)
    live.look()

    assert follower.ended is Ending.JOB_DELETED
    with pytest.raises(UnknownJob):
        Alone(live, job.id, ann)


def test_a_step_beyond_its_end_is_not_shown_again(store: JobStore, live: Live) -> None:
    """A late event of a finished step, while its job goes on."""
    job = add_job(store)
    follower = Alone(live, job.id)
    finish(store, job)
    assert live.take([event(job, percent=100.0, stage="done")])
    live.look()

    live.take([event(job, percent=99.0), event(job, step=1, percent=5.0)])

    assert follower.told[-2]["job"]["steps"][0]["state"] == "done"
    assert follower.percents == [5.0]


def test_followers_and_tabs_are_told_of_the_job_together(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    follower, tab = Alone(live, job.id), Tab(live, View(None, job.id))

    claim(store, job)
    live.look()
    live.take([event(job, percent=10.0)])
    store.cancel(job.id)
    live.look()

    assert [each["type"] for each in follower.told] == [
        *("snapshot", "snapshot", "progress", "snapshot"),
    ]
    assert [each["type"] for each in tab.take()] == ["job", "step", "progress", "job", "step"]
    assert follower.ended is Ending.JOB_ENDED


def test_who_leaves_costs_nothing(
    store: JobStore, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutmv.progress.live.LINGER_S", 0.0)
    job = add_job(store, "0-1")
    follower = Alone(live, job.id)
    live.look()
    assert live._watched

    live.leave(follower)
    live.take([event(job, percent=10.0)])
    live.look()
    live.look()

    assert follower.percents == []
    assert not (live._known or live._seen or live._watched)
