"""The job store and its claims, on SQLite and on PostgreSQL, used by many at once."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.database import now
from cutmv.jobs import (
    WAITS_FOR_STORAGE,
    WAITS_TO_RETRY,
    Backlog,
    Busy,
    Claimed,
    Claims,
    Deletions,
    Ended,
    Job,
    JobStore,
    Output,
    State,
    Step,
    UnknownJob,
    UnknownUpload,
    look,
    upload_of,
)
from cutmv.jobs.backlog import LOST_AFTER_S, TURNS
from cutmv.jobs.claims import MAX_ATTEMPTS
from cutmv.jobs.tables import jobs, steps, uploads
from cutmv.media import Progress, Rendered
from tests.support.jobs import add_job, add_upload

MADE = Rendered(
    *(2.0, 60, 1234, 320, 180, 50, None, "copied"),
    read_bytes=99,
    requests=3,
    seconds={"copy": 0.5},
    warnings=("It is odd.",),
)
OUTPUT = Output("jobs/x/y/z.mp4", 1234, "video/mp4", MADE)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[JobStore]:
    store = JobStore(url)
    yield store
    store.close()


def claims(store: JobStore, lease_s: float = 60.0) -> Claims:
    return Claims(store, uuid.uuid4().hex, lease_s)


def claim(store: JobStore, step: Step, lease_s: float = 60.0) -> tuple[Claims, Step]:
    owner = claims(store, lease_s)
    claimed = owner.claim(step.id, "redis")
    assert isinstance(claimed, Claimed)
    return owner, claimed.step


def let_time_pass(store: JobStore, seconds: float) -> None:
    """Everything the store remembers happened `seconds` earlier."""
    with store.engine.begin() as db:
        for table, column in (
            (steps, steps.c.lease_until),
            (steps, steps.c.enqueued_at),
            (steps, steps.c.claimed_at),
            (jobs, jobs.c.created_at),
            (uploads, uploads.c.created_at),
        ):
            db.execute(table.update().values({column: column - seconds}))


def ids(of: Sequence[Step]) -> list[str]:
    return [step.id for step in of]


def states(job: Job) -> list[str]:
    return [job.state.value, *(step.state.value for step in job.steps)]


def test_what_is_kept_is_read_back(store: JobStore) -> None:
    job = add_job(store, "0:05-0:12.5")

    kept = store.job(job.id)

    assert kept == job
    assert kept.upload.info == job.upload.info
    assert store.upload(job.upload.id) == upload_of(store, job.id) == job.upload


def test_what_is_unknown_is_said_so(store: JobStore) -> None:
    with pytest.raises(UnknownJob):
        store.job("none")
    with pytest.raises(UnknownJob):
        upload_of(store, "none")
    with pytest.raises(UnknownUpload):
        store.upload("none")
    with pytest.raises(UnknownJob):
        store.cancel("none")
    with pytest.raises(UnknownJob):
        claims(store).claim("none", "redis")


def test_jobs_are_listed_newest_first_and_paged(store: JobStore) -> None:
    made = [add_job(store).id for _ in range(5)][::-1]

    first = store.jobs(limit=2)
    rest = store.jobs(limit=10, before=first[-1].created_at)

    assert [job.id for job in first + rest] == made


def test_a_job_runs_with_its_first_step_and_is_done_with_its_last(store: JobStore) -> None:
    job = add_job(store)
    first, one = claim(store, job.steps[0])
    assert states(store.job(job.id)) == ["running", "running", "queued"]
    assert first.finish(one, OUTPUT)
    assert states(store.job(job.id)) == ["running", "done", "queued"]

    second, two = claim(store, job.steps[1])
    assert second.finish(two, OUTPUT)

    done = store.job(job.id)
    assert states(done) == ["done", "done", "done"]
    assert done.percent == 100.0
    assert done.started_at and done.finished_at and done.started_at <= done.finished_at
    assert done.steps[0].output == OUTPUT


def test_a_job_with_a_failed_step_has_failed_once_all_have_ended(store: JobStore) -> None:
    job = add_job(store)
    first, one = claim(store, job.steps[0])
    assert first.fail(one, "The video is damaged.")
    assert states(store.job(job.id)) == ["running", "failed", "queued"]

    second, two = claim(store, job.steps[1])
    assert second.finish(two, OUTPUT)

    assert states(store.job(job.id)) == ["failed", "failed", "done"]
    assert store.job(job.id).error == "The video is damaged."


def test_a_claimed_step_is_busy_for_all_others(store: JobStore) -> None:
    step = add_job(store).steps[0]
    claim(store, step, lease_s=60.0)

    answer = claims(store).claim(step.id, "redis")

    assert isinstance(answer, Busy)
    assert 55.0 < answer.remaining_s <= 60.0


def test_a_step_that_has_ended_can_not_be_claimed(store: JobStore) -> None:
    step = add_job(store).steps[0]
    owner, claimed = claim(store, step)
    owner.finish(claimed, OUTPUT)

    answer = claims(store).claim(step.id, "redis")

    assert isinstance(answer, Ended)
    assert answer.step.state is State.DONE
    assert answer.step.attempts == 1


def test_a_step_whose_owner_is_silent_goes_to_the_next(store: JobStore) -> None:
    step = add_job(store).steps[0]
    late, lates = claim(store, step, lease_s=60.0)
    let_time_pass(store, 61.0)

    _, taken = claim(store, step)

    assert taken.attempts == 2
    assert not late.beat(lates, "cutting", Progress(50.0))
    assert not late.finish(lates, OUTPUT)
    assert not late.fail(lates, "too late")
    assert not late.release(lates, failed=True, due_s=0.0)
    assert store.job(step.job_id).steps[0].state is State.RUNNING


def test_a_beat_keeps_the_step_and_its_percent_never_falls(store: JobStore) -> None:
    step = add_job(store).steps[0]
    owner, claimed = claim(store, step, lease_s=60.0)
    let_time_pass(store, 40.0)
    assert owner.beat(claimed, "cutting", Progress(50.0, fps=30.0))
    let_time_pass(store, 40.0)
    assert owner.beat(claimed, "cutting", Progress(20.0))

    assert isinstance(claims(store).claim(step.id, "redis"), Busy)
    assert store.job(step.job_id).steps[0].percent == 50.0


def test_only_one_of_many_gets_the_step(store: JobStore) -> None:
    step = add_job(store).steps[0]
    start = threading.Barrier(8)

    def ask() -> object:
        start.wait(10)
        return claims(store).claim(step.id, "redis")

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(8)]]

    assert sum(isinstance(answer, Claimed) for answer in answers) == 1
    assert sum(isinstance(answer, Busy) for answer in answers) == 7


def test_steps_that_end_at_the_same_moment_end_their_job(store: JobStore) -> None:
    for _ in range(5):
        job = add_job(store, *(f"{n}-{n + 1}" for n in range(6)))
        owned = [claim(store, step) for step in job.steps]
        start = threading.Barrier(6)

        def finish(owner: Claims, step: Step, start: threading.Barrier = start) -> bool:
            start.wait(10)
            return owner.finish(step, OUTPUT)

        with ThreadPoolExecutor(6) as pool:
            ended = [future.result() for future in [pool.submit(finish, *one) for one in owned]]

        assert all(ended)
        assert store.job(job.id).state is State.DONE


def test_a_cancelled_job_takes_its_steps_from_their_owners(store: JobStore) -> None:
    job = add_job(store)
    owner, claimed = claim(store, job.steps[0])

    cancelled = store.cancel(job.id)

    assert states(cancelled) == ["cancelled", "cancelled", "cancelled"]
    assert not owner.beat(claimed, "cutting", Progress(10.0))
    assert not owner.finish(claimed, OUTPUT)
    assert isinstance(claims(store).claim(job.steps[1].id, "redis"), Ended)
    assert states(store.cancel(job.id)) == ["cancelled", "cancelled", "cancelled"]


def test_cancelling_what_has_ended_changes_nothing(store: JobStore) -> None:
    job = add_job(store, "0-1")
    owner, claimed = claim(store, job.steps[0])
    owner.finish(claimed, OUTPUT)

    assert states(store.cancel(job.id)) == ["done", "done"]


def test_a_step_that_kills_all_its_workers_is_given_up(store: JobStore) -> None:
    step = add_job(store, "0-1").steps[0]
    for _ in range(MAX_ATTEMPTS):
        claim(store, step)
        let_time_pass(store, 61.0)

    answer = claims(store).claim(step.id, "redis")

    assert isinstance(answer, Ended)
    job = store.job(step.job_id)
    assert states(job) == ["failed", "failed"]
    assert str(MAX_ATTEMPTS) in (job.error or "")


def test_the_janitor_is_shown_what_nobody_brings(store: JobStore) -> None:
    job = add_job(store)
    backlog = Backlog(store)
    assert backlog.to_send(min_age_s=10.0) == []
    let_time_pass(store, 11.0)
    assert ids(backlog.to_send(10.0)) == ids(job.steps)

    assert not backlog.has_enqueued()
    backlog.sent([job.steps[0].id], "redis")
    assert backlog.has_enqueued()
    assert ids(backlog.to_send(10.0)) == [job.steps[1].id]
    assert ids(backlog.waiting(10.0)) == ids(job.steps)
    let_time_pass(store, LOST_AFTER_S + 1)
    assert ids(backlog.to_send(10.0)) == ids(job.steps)

    backlog.sent([job.steps[1].id], "eager")
    assert job.steps[1].id in ids(backlog.to_send(10.0))
    assert store.job(job.id).route == "eager"


def test_a_message_that_nobody_takes_is_followed_by_others_ever_more_rarely(
    store: JobStore,
) -> None:
    job, backlog = add_job(store, "0-1", "1-2"), Backlog(store)
    first, second = ids(job.steps)
    for wait_s in (20, 40, 80, 160, 320, 320):
        backlog.sent([first, second], "redis")
        for _ in range(wait_s // 40):
            assert second not in ids(backlog.to_send(0.0))
            let_time_pass(store, 38)
            backlog.sent([first], "redis")
            let_time_pass(store, 2)
        let_time_pass(store, wait_s % 40 + 1)
        assert second in ids(backlog.to_send(0.0))

    claim(store, job.steps[1])  # somebody took it: all begins anew
    let_time_pass(store, 61.0)
    backlog.reclaim()
    backlog.sent([second], "redis")
    let_time_pass(store, LOST_AFTER_S + 1)
    assert second in ids(backlog.to_send(0.0))


def test_a_message_that_is_lost_is_found_within_a_minute_however_often_it_was_sent(
    store: JobStore,
) -> None:
    job = add_job(store, *(f"{n}-{n + 1}" for n in range(TURNS + 5)))
    backlog, sent = Backlog(store), ids(job.steps)
    for _ in range(8):
        backlog.sent(sent, "redis")
        let_time_pass(store, 400.0)

    backlog.sent(sent, "redis")  # and all of these are lost
    let_time_pass(store, 38.0)
    assert backlog.to_send(0.0) == []
    let_time_pass(store, 4.0)
    first = ids(backlog.to_send(0.0))
    assert first == sent[:1], "one message in 40 seconds tells whether anybody takes them"
    backlog.sent(first, "redis")
    assert backlog.to_send(0.0) == []
    claim(store, job.steps[0])
    assert ids(backlog.to_send(0.0)) == sent[1 : TURNS + 1], "somebody does: all others are sent"


def test_of_a_long_backlog_only_the_steps_whose_turn_it_is_are_sent_again(
    store: JobStore,
) -> None:
    job, backlog = add_job(store, *(f"{n}-{n + 1}" for n in range(TURNS + 5))), Backlog(store)
    backlog.sent(ids(job.steps), "redis")
    let_time_pass(store, LOST_AFTER_S + 1)
    assert ids(backlog.to_send(0.0)) == ids(job.steps[:TURNS])

    backlog.sent(ids(job.steps[:TURNS]), "redis")
    assert backlog.to_send(0.0) == [], "those behind are not late before their turn"
    for step in job.steps[:3]:
        claim(store, step)
    assert ids(backlog.to_send(0.0)) == ids(job.steps[TURNS : TURNS + 3])


def test_a_step_is_not_marked_as_sent_that_was_claimed_meanwhile(store: JobStore) -> None:
    job, backlog = add_job(store, "0-1"), Backlog(store)
    owner, claimed = claim(store, job.steps[0])
    backlog.sent(ids(job.steps), "redis")
    owner.release(claimed, failed=False)

    assert ids(backlog.to_send(0.0)) == ids(job.steps)


def test_who_waits_and_why(store: JobStore) -> None:
    job, backlog = add_job(store, *(f"{n}-{n + 1}" for n in range(4))), Backlog(store)
    let_time_pass(store, 100.0)
    owner, one = claim(store, job.steps[0])
    owner.release(one, failed=False, stage=WAITS_FOR_STORAGE, due_s=5.0)
    owner, two = claim(store, job.steps[1])
    owner.release(two, failed=True, stage=WAITS_TO_RETRY, due_s=5.0)

    report = backlog.report()

    assert {reason: each.count for reason, each in report.waiting.items()} == {
        "turn": 2,
        "storage": 1,
        "room": 0,
        "retry": 1,
    }
    assert report.waiting["storage"].oldest_s > 99, "it goes on waiting"
    assert report.waiting["retry"].oldest_s < 50, "it waits anew"
    assert report.stranded == 2, "nothing runs, and these have no reason to wait"

    claim(store, job.steps[2])
    assert backlog.report().stranded == 0, "this one may wait for that to end"
    assert store.job(job.id).steps[0].stage == WAITS_FOR_STORAGE


def test_a_database_that_kept_all_waiting_lets_owners_renew_before_they_lose_their_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutmv.jobs.backlog.DATABASE_SLOW_S", 0.2)
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    step, backlog = add_job(store, "0-1").steps[0], Backlog(store)
    owner, claimed = claim(store, step, lease_s=60.0)
    let_time_pass(store, 61.0)
    db = store.engine.connect()
    db.execute(steps.update().where(sa.false()).values(stage=None))
    with ThreadPoolExecutor(1) as pool:
        reclaimed = pool.submit(backlog.reclaim)
        with pytest.raises(TimeoutError):
            reclaimed.result(timeout=0.5)
        db.rollback()
        assert reclaimed.result(timeout=30) == []

    assert owner.beat(claimed, "cutting", Progress())
    assert backlog.reclaim() == []
    db.close()
    store.close()


def test_a_claim_whose_answer_was_lost_is_given_once_more(store: JobStore) -> None:
    step = add_job(store, "0-1").steps[0]
    owner, claimed = claim(store, step)

    again = owner.claim(step.id, "redis")

    assert isinstance(again, Claimed)
    assert again.step.attempts == claimed.attempts == 1


def test_what_a_later_version_tells_of_an_output_is_left_out(store: JobStore) -> None:
    job = add_job(store, "0-1")
    owner, claimed = claim(store, job.steps[0])
    assert owner.finish(claimed, OUTPUT)
    with store.engine.begin() as db:
        later = {**MADE.to_dict(), "colour": "blue"}
        db.execute(steps.update().values(output_made=later))

    assert store.job(job.id).steps[0].output == OUTPUT


def test_steps_of_the_dead_are_queued_again_and_those_of_the_living_are_not(
    store: JobStore,
) -> None:
    job = add_job(store)
    backlog = Backlog(store)
    backlog.sent(ids(job.steps), "redis")
    claim(store, job.steps[0], lease_s=60.0)
    claim(store, job.steps[1], lease_s=600.0)
    let_time_pass(store, 61.0)

    assert backlog.reclaim() == [job.steps[0].id]

    assert states(store.job(job.id)) == ["running", "queued", "running"]
    assert ids(backlog.to_send(10.0)) == [job.steps[0].id]
    let_time_pass(store, 600.0)
    backlog.reclaim()
    assert states(store.job(job.id)) == ["queued", "queued", "queued"]


@pytest.mark.parametrize("expected", [True, False])
def test_a_released_step_waits_for_its_broker_or_for_the_janitor(
    store: JobStore, expected: bool
) -> None:
    job = add_job(store, "0-1")
    owner, claimed = claim(store, job.steps[0])
    let_time_pass(store, 11.0)

    assert owner.release(claimed, failed=True, due_s=5.0 if expected else None)

    assert states(store.job(job.id)) == ["queued", "queued"]
    assert bool(Backlog(store).to_send(10.0)) is not expected


def test_a_page_of_jobs_ends_between_two_instants(store: JobStore) -> None:
    old, *others = [add_job(store, "0-1") for _ in range(4)]
    with store.engine.begin() as db:
        db.execute(jobs.update().where(jobs.c.id != old.id).values(created_at=2000.0))
        db.execute(jobs.update().where(jobs.c.id == old.id).values(created_at=1000.0))

    first = store.jobs(2)
    assert {job.id for job in first} == {job.id for job in others}
    assert [job.id for job in store.jobs(2, before=first[-1].created_at)] == [old.id]
    assert store.jobs(2, before=1000.0) == []


def test_only_a_start_that_failed_counts(store: JobStore) -> None:
    job = add_job(store, "0-1")
    for failed, counted in ((False, 0), (True, 1), (False, 1)):
        owner, claimed = claim(store, job.steps[0])
        assert owner.release(claimed, failed=failed)
        step = store.job(job.id).steps[0]
        assert (step.attempts, step.failures) == (counted, counted)


def test_the_step_of_a_runner_that_was_killed_fails_by_its_owner_s_name(store: JobStore) -> None:
    job = add_job(store, "0-1")
    runner, claimed = claim(store, job.steps[0])

    assert not store.fail_running(claimed.id, "somebody else/", "killed")
    assert states(store.job(job.id)) == ["running", "running"]
    assert store.fail_running(claimed.id, runner.owner[:3], "killed")
    assert states(store.job(job.id)) == ["failed", "failed"]
    assert store.job(job.id).steps[0].error == "killed"


def test_old_jobs_and_then_their_uploads_are_found_and_deleted(store: JobStore) -> None:
    old, open_job = add_job(store, "0-1"), add_job(store, "0-1")
    unused = add_upload(store)
    store.cancel(old.id)
    let_time_pass(store, 1000.0)
    new = store.cancel(add_job(store, "0-1").id)

    assert store.expired_jobs(0.01) == [old.id]
    assert [upload.id for upload in store.expired_uploads(0.01)] == [unused.id]
    Deletions(store).job(old.id)
    assert {u.id for u in store.expired_uploads(0.01)} == {unused.id, old.upload.id}
    Deletions(store).upload(old.upload.id, if_unused=True)
    with pytest.raises(UnknownUpload):
        Deletions(store).upload(new.upload.id, if_unused=True)

    with pytest.raises(UnknownJob):
        store.job(old.id)
    assert store.job(new.id).upload == new.upload
    assert store.job(open_job.id).state is State.QUEUED
    assert store.has_upload(new.upload.key)
    assert not store.has_upload(old.upload.key)


def test_counts_are_by_state(store: JobStore) -> None:
    job = add_job(store)
    claim(store, job.steps[0])

    assert look(store).counts == {
        ("job", "running"): 1,
        ("step", "running"): 1,
        ("step", "queued"): 1,
    }


def test_several_processes_may_open_an_empty_database_at_once(url: str) -> None:
    start = threading.Barrier(6)

    def open_one() -> None:
        start.wait(10)
        store = JobStore(url)
        store.check()
        store.close()

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(open_one) for _ in range(6)]:
            future.result()


def test_the_clock_is_in_seconds_since_1970(store: JobStore) -> None:

    with store.reading() as db:
        shown = db.scalar(sa.select(now()))

    assert shown is not None
    assert abs(shown - time.time()) < 5.0


def test_readers_do_not_wait_for_a_writer(store: JobStore) -> None:
    job = add_job(store)
    with store.engine.begin() as db:
        db.execute(jobs.update().values(error="not committed"))
        seen: Callable[[], Job] = lambda: store.job(job.id)  # noqa: E731
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(seen).result(timeout=5).error is None
