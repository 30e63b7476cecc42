"""How much one person may have: jobs at once, and steps that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cutmv.config import Limits
from cutmv.database import now
from cutmv.jobs import (
    WAITS_FOR_OTHERS,
    Backlog,
    Claims,
    Deletions,
    Job,
    JobStore,
    KeyReused,
    MultipartUploads,
    TooLargeJob,
    TooManyRows,
    TooManySteps,
    Upload,
    plan_job,
    reserve,
    usage,
)
from cutmv.jobs import store as job_store
from cutmv.jobs.quotas import require_steps
from cutmv.jobs.request import JobRequest
from cutmv.jobs.tables import jobs, steps, uploads
from cutmv.people import Accounts
from cutmv.people.tables import people
from cutmv.storage import LocalStorage
from tests.support.jobs import add_job, add_upload, an_upload

#: The first bytes of an MP4.
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0"
LIMITS = Limits(jobs=3, waiting_steps=10)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    store = JobStore(url, LIMITS)
    yield store
    store.close()


def person(store: JobStore, name: str, **quotas: int) -> str:
    accounts = Accounts(store.engine)
    added = accounts.add(f"{name}@example.com")
    accounts.set_quotas(str(added.id), quotas)
    return str(added.id)


def to_send(store: JobStore) -> list[str]:
    """The jobs of which steps are to be sent, whether or not a broker answers."""
    backlog = Backlog(store)
    found = [step.job_id for step in backlog.to_send(min_age_s=-1)]
    assert found == [step.job_id for step in backlog.waiting(min_age_s=-1)]
    return list(dict.fromkeys(found))


def finish(store: JobStore, job: Job) -> None:
    claims = Claims(store, "one")
    for step in job.steps:
        claims.claim(step.id, "redis")
        claims.fail(step, "It is a test's.")


def cancel(store: JobStore, job: Job) -> None:
    store.cancel(job.id)


def delete(store: JobStore, job: Job) -> None:
    Deletions(store).job(job.id)


def fail_unreadable(store: JobStore, job: Job) -> None:
    with store.engine.begin() as db:
        db.execute(steps.update().where(steps.c.job_id == job.id).values(spec=["no spec"]))
    Backlog(store).to_send(min_age_s=-1)


def kill_worker(store: JobStore, job: Job) -> None:
    """Its worker dies, another runs it."""
    Claims(store, "dead", lease_s=-1.0).claim(job.steps[0].id, "redis")
    assert Backlog(store).reclaim() == [job.steps[0].id]
    finish(store, job)


@pytest.mark.parametrize("end", [finish, cancel, delete, fail_unreadable, kill_worker])
def test_the_fourth_job_waits_until_one_has_ended_however_it_did(
    store: JobStore, end: Callable[[JobStore, Job], None]
) -> None:
    first, *others, fourth = [add_job(store, "0-1", person_id="ann") for _ in range(4)]
    assert to_send(store) == [job.id for job in (first, *others)]

    end(store, first)

    assert to_send(store) == [job.id for job in (*others, fourth)]


def test_people_have_jobs_beside_each_other_s_and_as_many_as_their_quota_says(
    store: JobStore,
) -> None:
    one, many = person(store, "one", jobs=1), person(store, "many", jobs=4)
    damaged = person(store, "damaged", jobs=1)
    with store.engine.begin() as db:
        db.execute(people.update().where(people.c.id == damaged).values(quotas={"jobs": "x"}))
    made = [
        (owner, add_job(store, "0-1", person_id=owner).id)
        for owner in (one, many, damaged, None)
        for _ in range(5)
    ]

    sent = set(to_send(store))

    at_once = {one: 1, many: 4, damaged: 3, None: 3}
    for owner, most in at_once.items():
        theirs = [job_id for other, job_id in made if other == owner]
        assert [job_id in sent for job_id in theirs] == [n < most for n in range(5)], owner


def test_a_job_that_waits_for_others_is_left_to_the_janitor_at_once(store: JobStore) -> None:
    first, *_others, fourth = [add_job(store, "0-1") for _ in range(4)]
    backlog = Backlog(store)

    assert [backlog.hold(job.id, "redis") for job in (first, fourth)] == [False, True]
    assert stages(store, first, fourth) == [None, WAITS_FOR_OTHERS]
    store.cancel(first.id)

    # The request that made it would else have some seconds more to send it.
    assert [step.job_id for step in backlog.to_send(min_age_s=600.0)] == [fourth.id]
    assert [step.job_id for step in backlog.waiting(min_age_s=600.0)] == [fourth.id]
    backlog.sent([step.id for step in fourth.steps], "redis")
    assert stages(store, fourth) == [None]


def stages(store: JobStore, *jobs: Job) -> list[str | None]:
    """What the steps of jobs wait for."""
    return [step.stage for job in jobs for step in store.job(job.id).steps]


def test_jobs_that_run_here_keep_none_from_being_found(store: JobStore) -> None:
    busy, waits = add_job(store, *["0-1"] * 9), add_job(store, "0-1")
    here = {step.id for step in busy.steps}

    found = Backlog(store).waiting(-1, but=lambda step_id: step_id in here)

    assert [step.job_id for step in found] == [waits.id]


def test_what_is_somebody_s_is_kept_for_their_own_days(store: JobStore) -> None:
    accounts = Accounts(store.engine)
    usual, short, damaged = person(store, "usual"), person(store, "short"), person(store, "damaged")
    long = person(store, "long", retention_days=100)
    bounded = person(store, "bounded", retention_days=50)
    accounts.set_retention(short, 5, 29)
    accounts.set_retention(long, 60, 29)
    accounts.set_retention(bounded, 50, 29)
    accounts.set_quotas(bounded, {"retention_days": 3})
    people_of_all = {"usual": usual, "short": short, "long": long, "bounded": bounded}
    people_of_all |= {"nobody": None, "damaged": damaged}
    kept: dict[str, tuple[str, str]] = {}
    for name, owner in people_of_all.items():
        job = store.cancel(add_job(store, "0-1", person_id=owner).id)
        unused = store.add_upload(replace(an_upload(), person_id=owner))
        kept[name] = job.id, unused.id
    if store.engine.dialect.name == "sqlite":
        with store.engine.begin() as db:
            own = people.update().where(people.c.id == damaged)
            db.execute(own.values(retention_days=sa.literal("x", sa.Text), quotas=[1]))

    def gone(age_days: float) -> set[str]:
        """Whose things expire when they are so old."""
        with store.engine.begin() as db:
            for table in (jobs, uploads):
                db.execute(table.update().values(created_at=now() - age_days * 86_400.0))
        of_jobs = set(store.expired_jobs(29))
        of_uploads = {each.id for each in store.expired_uploads(29)}
        found = {name for name, (job, _) in kept.items() if job in of_jobs}
        assert found == {name for name, (_, upload) in kept.items() if upload in of_uploads}
        return found

    assert gone(2.9) == set()
    assert gone(3.1) == {"bounded"}
    assert gone(5.1) == {"bounded", "short"}
    assert gone(28.9) == {"bounded", "short"}
    assert gone(29.1) == {"bounded", "short", "usual", "nobody", "damaged"}
    assert gone(59.9) == {"bounded", "short", "usual", "nobody", "damaged"}
    assert gone(60.1) == set(kept)


def test_a_divided_step_counts_as_one_that_has_not_ended(store: JobStore) -> None:
    first, *_others, fourth = [add_job(store, "0-1") for _ in range(4)]
    with store.engine.begin() as db:
        own = steps.update().where(steps.c.job_id == first.id)
        db.execute(own.values(state="running", division="parts", owner=None))

    assert fourth.id not in to_send(store)


def test_steps_wait_up_to_a_bound_and_ended_ones_make_room(store: JobStore) -> None:
    eight = add_job(store, *["0-1"] * 8, person_id="ann")
    with pytest.raises(TooManySteps, match="3 outputs, 8 others wait or are being made, and 10"):
        add_job(store, *["0-1"] * 3, person_id="ann")
    assert [job.id for job in store.jobs(10)] == [eight.id], "nothing of it is kept"
    add_job(store, *["0-1"] * 10, person_id="ben")

    with store.engine.begin() as db:
        db.execute(steps.update().where(steps.c.id == eight.steps[0].id).values(state="done"))

    add_job(store, *["0-1"] * 3, person_id="ann")


def test_what_is_cancelled_or_deleted_at_once_fills_no_database(store: JobStore) -> None:
    ann = person(store, "ann", rows=20)
    for _ in range(3):  # an upload, a job and four steps each
        cancel(store, add_job(store, *["0-1"] * 4, person_id=ann))
    delete(store, add_job(store, person_id=ann))  # a note of it stays
    assert _rows(store, ann) == 3 * 5 + 1

    with pytest.raises(TooManyRows, match=r"^You have 20 uploads, jobs, outputs, links"):
        add_job(store, *["0-1"] * 4, person_id=ann)

    assert _rows(store, ann) == 16, "nothing of it is kept"
    add_job(store, *["0-1"] * 3, person_id=ann)
    first = replace(an_upload(), person_id=ann)
    with pytest.raises(TooManyRows):
        store.add_upload(first)
    with pytest.raises(TooManyRows), reserve(store, None, ann) as held:
        held.hold(1)
    add_job(store, person_id=person(store, "ben", rows=20))
    oldest = store.jobs(10, of=ann)[-1]
    delete(store, oldest)
    assert _rows(store, ann) == 16
    store.add_upload(first)


def test_the_one_person_of_a_server_without_sign_in_has_rows_without_a_bound(
    store: JobStore,
) -> None:
    assert usage(store.engine, LIMITS, None)["rows"].most is None
    assert usage(store.engine, LIMITS, person(store, "ann"))["rows"].most == 100_000
    assert usage(store.engine, Limits(rows=5), None)["rows"].most == 5


def test_who_is_at_the_bound_is_refused_while_another_writes(store: JobStore) -> None:
    ann = person(store, "ann", rows=1)
    store.add_upload(replace(an_upload(), person_id=ann))
    upload = replace(add_upload(store), person_id=ann)
    planned = plan_job(upload, JobRequest(upload_id=upload.id, clips=("0-1",)))
    wants = (lambda: store.add_job(planned), lambda: reserve(store, None, ann).hold(1))
    with ThreadPoolExecutor(2) as pool, store.engine.begin() as db:
        db.execute(jobs.update().values(error=None))  # SQLite has one writer at a time
        refused = [pool.submit(each).exception(5.0) for each in wants]

    assert [type(each) for each in refused] == [TooManyRows] * 2


def test_an_upload_in_parts_holds_the_row_that_it_will_be(store: JobStore, tmp_path: Path) -> None:
    ann = person(store, "ann", rows=1)
    begun = MultipartUploads(store, LocalStorage(tmp_path / "files"))
    made = begun.begin("song.mp4", 1_000_000, MP4, person_id=ann, request_key="one")
    with pytest.raises(TooManyRows):
        begun.begin("other.mp4", 1_000_000, MP4, person_id=ann)
    Accounts(store.engine).set_quotas(ann, {"rows": 0})  # what was granted stays so
    store.add_upload(replace(an_upload(), id=made.id, person_id=ann))
    begun._forget(made)  # it is complete
    with pytest.raises(KeyReused):  # as below the bound
        begun.begin("song.mp4", 1_000_000, MP4, person_id=ann, request_key="one")


def _rows(store: JobStore, person_id: str) -> int:
    return usage(store.engine, LIMITS, person_id)["rows"].used


def test_a_job_that_no_waiting_would_let_in_is_too_large(store: JobStore) -> None:
    few = person(store, "few", waiting_steps=2)
    with pytest.raises(TooLargeJob, match="3 outputs; 2 may wait at most"):
        add_job(store, *["0-1"] * 3, person_id=few)
    add_job(store, *["0-1"] * 2, person_id=few)


def test_a_request_that_comes_again_is_answered_though_no_more_may_wait(store: JobStore) -> None:
    upload = add_upload(store)
    planned = plan_job(upload, JobRequest(upload_id=upload.id, clips=("0-1",) * 10), "a key")
    job = store.add_job(planned)

    assert store.add_job(planned) == job


def test_of_two_jobs_at_once_that_fit_alone_one_is_kept(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [add_upload(store) for _ in range(2)]
    with store.reading() as one, store.reading() as another:  # so that neither has to connect
        one.execute(sa.select(1)), another.execute(sa.select(1))
    both_there = threading.Barrier(2)

    def when_both_are_there(*args: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            both_there.wait(0.3)
        require_steps(*args)

    monkeypatch.setattr(job_store, "require_steps", when_both_are_there)

    def add(upload: Upload) -> bool:
        request = JobRequest(upload_id=upload.id, clips=("0-1",) * 6)
        try:
            store.add_job(plan_job(upload, request))
        except TooManySteps:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(add, uploads)) == [False, True]


def test_a_job_without_a_time_that_is_one_waits_for_the_sweep_alone(store: JobStore) -> None:
    bad, good = add_job(store, "0-1"), add_job(store, "0-1")
    with store.engine.begin() as db:
        db.execute(jobs.update().where(jobs.c.id == bad.id).values(created_at=1e12))
    assert to_send(store) == [good.id]
    Backlog(store).mend()
    with store.engine.begin() as db:
        db.execute(jobs.update().values(created_at=now() - 60.0))
    assert set(to_send(store)) == {good.id, bad.id}
