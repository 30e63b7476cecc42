"""What operators see of all jobs, and do to single steps, on SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.jobs import (
    Claimed,
    Claims,
    Division,
    JobStore,
    NotFailed,
    NotOpen,
    Output,
    Parts,
    State,
    Step,
    UnknownJob,
    look,
    retry,
    revoke,
)
from cutmv.jobs.tables import derivatives, steps
from cutmv.monitoring.jobs import SLOW_LEAST_S, look_at_jobs
from tests.support.jobs import add_job

OUTPUT = Output("jobs/x/y/z.mp4", 1234, "video/mp4")
HALVES = [(Fraction(0), Fraction(5)), (Fraction(5), Fraction(10))]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
    else:
        url = str(request.getfixturevalue("postgres_url"))
    store = JobStore(url)
    yield store
    store.close()


def claim(store: JobStore, step: Step) -> tuple[Claims, Step]:
    owner = Claims(store, f"w1@host/1/{uuid.uuid4().hex}", 60.0)
    claimed = owner.claim(step.id, "redis")
    assert isinstance(claimed, Claimed)
    return owner, claimed.step


def test_all_is_seen_at_one_moment(store: JobStore) -> None:
    job = add_job(store)
    _, one = claim(store, job.steps[0])
    broken, two = claim(store, job.steps[1])
    broken.fail(two, "The video is damaged.", "Traceback: at line 7")
    done = add_job(store)
    for step in done.steps:
        owner, claimed = claim(store, step)
        owner.finish(claimed, OUTPUT)

    with store.engine.begin() as db:
        row = {"upload_id": done.upload.id, "kind": "proxy", "asked_at": 0.0, "bytes": 300}
        db.execute(derivatives.insert().values(row))

    seen = look(store)

    assert seen.counts["job", "done"] == seen.counts["job", "running"] == 1
    assert (seen.begun, seen.ended) == (2 + len(done.steps), 1 + len(done.steps))
    assert seen.stored == {
        "uploads": job.upload.size + done.upload.size,
        "derivatives": 300,
        "outputs": OUTPUT.size * len(done.steps),
    }
    [live] = seen.live
    assert (live.step.id, live.worker) == (one.id, "w1@host")
    assert 0 <= live.ran_s < 60
    [failed] = seen.failed
    assert (failed.step.id, failed.traceback) == (two.id, "Traceback: at line 7")
    assert failed.ago_s is not None
    assert 0 <= failed.ago_s < 60
    [held] = seen.holdings
    assert (held.person_id, held.bytes) == (None, sum(seen.stored.values()))


def test_a_step_that_failed_is_made_anew(store: JobStore) -> None:
    job = add_job(store)
    for step in job.steps:
        owner, claimed = claim(store, step)
        owner.fail(claimed, "The video is damaged.", "Traceback")
    assert store.job(job.id).state is State.FAILED

    again = retry(store, job.steps[0].id)

    assert (again.state, again.attempts, again.failures, again.error) == (State.QUEUED, 0, 0, None)
    shown = store.job(job.id)
    assert (shown.state, shown.finished_at) == (State.RUNNING, None)
    assert len(look(store).failed) == len(job.steps) - 1
    with pytest.raises(NotFailed):
        retry(store, job.steps[0].id)
    owner, claimed = claim(store, again)
    assert owner.finish(claimed, OUTPUT)
    assert store.job(job.id).steps[0].state is State.DONE


def test_a_divided_step_that_failed_is_made_whole_and_its_parts_are_deleted(
    store: JobStore,
) -> None:
    job = add_job(store)
    owner, claimed = claim(store, job.steps[0])
    parts = Parts(store).divide(claimed, owner.owner, HALVES, [1.0, 1.0])
    revoke(store, claimed.id)
    with store.engine.begin() as db:
        db.execute(steps.update().where(steps.c.id == claimed.id).values(state=State.FAILED))

    again = retry(store, claimed.id)

    assert again.division is Division.WHOLE
    assert {each.id for each in Parts(store).needless()} == {each.id for each in parts}
    with pytest.raises(UnknownJob):
        retry(store, parts[0].id)


def test_one_step_is_stopped_with_its_parts_and_no_other(store: JobStore) -> None:
    job = add_job(store)
    owner, claimed = claim(store, job.steps[0])
    parts = Parts(store).divide(claimed, owner.owner, HALVES, [1.0, 1.0])
    part_owner, part = claim(store, parts[0])

    stopped = revoke(store, claimed.id)

    assert stopped.state is State.CANCELLED
    assert not part_owner.finish(part, OUTPUT)
    assert {each.state for each in Parts(store).of(claimed.id)} == {State.CANCELLED}
    assert store.job(job.id).steps[1].state is State.QUEUED
    with pytest.raises(NotOpen):
        revoke(store, claimed.id)
    with pytest.raises(UnknownJob):
        revoke(store, "none")


def test_a_step_that_runs_for_many_times_its_estimate_is_slow(store: JobStore) -> None:
    job = add_job(store)
    _, one = claim(store, job.steps[0])
    assert look_at_jobs(store).slow == frozenset()
    with store.engine.begin() as db:
        db.execute(steps.update().values(claimed_at=steps.c.claimed_at - 1000 * SLOW_LEAST_S))

    assert look_at_jobs(store).slow == {one.id}
