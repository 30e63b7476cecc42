"""Which of the waiting steps a broker is given: clients take turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutmv.config import Limits
from cutmv.jobs import Backlog, Job, JobStore
from cutmv.jobs.tables import jobs, steps
from tests.support.jobs import add_job

#: Steps of a client that are sent ahead.
AHEAD = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    store = JobStore(url, Limits(steps_ahead=AHEAD))
    yield store
    store.close()


def job_of(store: JobStore, person: str | None, outputs: int) -> Job:
    """A job of so many steps, of which the janitor may send some."""
    job = add_job(store, *[f"{n / 100}-{n / 100 + 1}" for n in range(outputs)])
    with store.engine.begin() as db:
        row = jobs.update().where(jobs.c.id == job.id)
        db.execute(row.values(person_id=person, route="redis"))
    return job


def test_a_client_s_many_steps_do_not_hold_up_another_s(store: JobStore) -> None:
    backlog = Backlog(store)
    many = [job_of(store, "ann", 100) for _ in range(2)]
    few = job_of(store, "ben", 2)

    found = backlog.to_send(10.0)

    assert {step.id for step in few.steps} <= {step.id for step in found}
    of_ann = [step.id for step in found if step.job_id == many[0].id]
    assert of_ann == [step.id for step in many[0].steps][:AHEAD]
    assert len(found) == AHEAD + 2


def test_a_client_is_sent_more_as_its_steps_end(store: JobStore) -> None:
    backlog = Backlog(store)
    job = job_of(store, None, 100)
    backlog.sent([step.id for step in backlog.to_send(10.0)], "redis")
    assert backlog.to_send(10.0) == []
    assert backlog.room(job.id) == 0

    with store.engine.begin() as db:
        ended = [step.id for step in job.steps[:3]]
        db.execute(steps.update().where(steps.c.id.in_(ended)).values(state="done"))

    assert backlog.room(job.id) == 3
    left = job.steps[AHEAD : AHEAD + 3]
    assert [step.id for step in backlog.to_send(10.0)] == [step.id for step in left]


def test_a_long_backlog_is_looked_through_in_little_time(store: JobStore) -> None:
    for _ in range(20):
        job_of(store, "ann", 200)
    backlog, began = Backlog(store), time.process_time()
    assert len(backlog.to_send(10.0)) == AHEAD
    assert time.process_time() - began < 0.5


def test_a_page_of_jobs_ends_where_they_have_many_steps(store: JobStore) -> None:
    made = [job_of(store, None, 200).id for _ in range(5)]

    first = store.jobs(100)
    second = store.jobs(100, first[-1].created_at)

    assert [job.id for job in first] == made[:1:-1]
    assert [job.id for job in second] == made[1::-1]
