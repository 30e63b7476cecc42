"""Hooks and their deliveries in a job store: what is to be told, to whom, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.jobs import (
    Claimed,
    Claims,
    Deletions,
    Deliveries,
    Hook,
    Hooks,
    Job,
    JobStore,
    UnknownHook,
    retry,
)
from cutmv.jobs.hooks.deliveries import CLAIM_S, PAUSES_S
from cutmv.jobs.store import settle
from cutmv.people import Accounts, Refused
from tests.support.jobs import add_job


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    sqlite = f"sqlite:///{tmp_path / 'jobs.db'}"
    is_sqlite = request.param == "sqlite"
    store = JobStore(sqlite if is_sqlite else request.getfixturevalue("postgres_url"))
    yield store
    store.close()


def person(store: JobStore, name: str) -> str:
    return str(Accounts(store.engine).add(f"{name}@example.com").id)


def add(store: JobStore, whose: str | None = None) -> Hook:
    return Hooks(store.engine).add(whose, "https://example.com/hook")[0]


def events(store: JobStore, hook: Hook) -> list[tuple[str, str]]:
    return [(each.event, each.state) for each in Deliveries(store.engine).of(hook)]


def later(store: JobStore, seconds: float) -> None:
    """Have all that is due be so many seconds earlier."""
    with store.engine.begin() as db:
        db.execute(sa.text(f"update hook_deliveries set due_at = due_at - {seconds}"))


def end(store: JobStore, job: Job, error: str = "no") -> None:
    """Have all steps of a job fail."""
    for step in job.steps:
        claims = Claims(store, "a worker")
        claimed = claims.claim(step.id, "eager")
        assert isinstance(claimed, Claimed)
        assert claims.fail(claimed.step, error)


def test_a_jobs_end_is_noted_once_for_each_hook_of_its_owner(store: JobStore) -> None:
    ann, bob = person(store, "ann"), person(store, "bob")
    hooks = [add(store, ann), add(store, ann)]
    off, others, nobodys = add(store, ann), add(store, bob), add(store)
    Hooks(store.engine).disable(ann, off.id, "a test")
    job = add_job(store, "0-1", "1-2", person_id=ann)
    Claims(store, "x").claim(job.steps[0].id, "eager")
    assert not any(events(store, hook) for hook in hooks)

    store.cancel(job.id)
    with store.engine.begin() as db:
        settle(db, job.id)  # as whoever ends a step does

    for hook in hooks:
        assert events(store, hook) == [("job.cancelled", "waiting")]
    assert not any(events(store, hook) for hook in (off, others, nobodys))
    assert {each.job_id for each in Deliveries(store.engine).due()} == {job.id}


def test_who_has_no_account_is_told_of_jobs_that_nobody_owns(store: JobStore) -> None:
    hook = add(store)

    end(store, add_job(store, "0-1"))

    assert events(store, hook) == [("job.failed", "waiting")]


def test_an_end_that_is_undone_is_another_event_at_the_next(store: JobStore) -> None:
    hook, job = add(store), add_job(store, "0-1")
    end(store, job)
    first = Deliveries(store.engine).due()[0]
    assert store.job(job.id).finished_at == first.happened_at

    retry(store, job.steps[0].id)
    assert store.job(job.id).finished_at != first.happened_at
    end(store, job)

    assert events(store, hook) == [("job.failed", "waiting")] * 2
    latest = {each.happened_at for each in Deliveries(store.engine).of(hook)}
    assert store.job(job.id).finished_at in latest


def test_each_attempt_is_one_senders_and_comes_again_when_that_dies(store: JobStore) -> None:
    add(store)
    end(store, add_job(store, "0-1"))
    deliveries = Deliveries(store.engine)
    (delivery,) = deliveries.due()

    assert [deliveries.claim(delivery), deliveries.claim(delivery)] == [True, False]

    assert deliveries.due() == []
    later(store, CLAIM_S)
    (again,) = deliveries.due()
    assert (again.id, again.attempts) == (delivery.id, 1)
    assert not deliveries.claim(delivery)  # as it was before somebody else's attempt
    assert deliveries.claim(again)
    deliveries.missed(delivery, "what the first sender saw")
    assert deliveries.of(again.hook)[0].answer is None
    deliveries.delivered(again, "HTTP 204")
    assert deliveries.of(again.hook)[0].state == "delivered"


def test_attempts_come_with_growing_pauses_for_a_day_and_then_it_has_failed(
    store: JobStore,
) -> None:
    hook = add(store)
    end(store, add_job(store, "0-1"))
    deliveries, waited, follows = Deliveries(store.engine), 0.0, True

    while follows:
        (delivery,) = deliveries.due()
        assert deliveries.claim(delivery)
        follows = deliveries.missed(delivery, "HTTP 500")
        if follows:
            with store.engine.connect() as db:
                left = "select due_at from hook_deliveries"
                due_at = db.scalar(sa.text(left)) or 0.0
            before = deliveries.of(hook)[0].happened_at
            pause_s = due_at - before
            later(store, pause_s + 1)
            waited += pause_s

    assert waited == pytest.approx(sum(PAUSES_S), rel=0.2)
    assert 20 * 3600 < sum(PAUSES_S) < 28 * 3600
    (told,) = deliveries.of(hook)
    assert (told.state, told.attempts, told.answer) == ("failed", len(PAUSES_S) + 1, "HTTP 500")
    assert deliveries.due() == []


def test_one_hook_shows_one_delivery_at_a_time_and_hides_no_other(store: JobStore) -> None:
    first, second = add(store), add(store)
    for _ in range(3):
        end(store, add_job(store, "0-1"))

    due = Deliveries(store.engine).due()

    assert sorted(each.hook.id for each in due) == sorted([first.id, second.id])
    assert [each.hook.id for each in Deliveries(store.engine).due([first.id])] == [second.id]


def test_what_is_deleted_ends_what_was_to_be_told_and_a_disabled_account_waits(
    store: JobStore,
) -> None:
    accounts, ann, bob = Accounts(store.engine), person(store, "ann"), person(store, "bob")
    of_ann, of_bob, nobodys = add(store, ann), add(store, bob), add(store)
    for whose in (ann, bob, None):
        end(store, add_job(store, "0-1", person_id=whose))

    accounts.disable(ann)
    assert {each.hook.id for each in Deliveries(store.engine).due()} == {of_bob.id, nobodys.id}
    accounts.enable(ann)
    Hooks(store.engine).disable(None, nobodys.id, "a test")
    assert {each.hook.id for each in Deliveries(store.engine).due()} == {of_ann.id, of_bob.id}
    assert events(store, nobodys) == [("job.failed", "failed")]
    accounts.delete(bob)
    Hooks(store.engine).delete(ann, of_ann.id)

    assert Deliveries(store.engine).due() == []
    with pytest.raises(UnknownHook):
        Hooks(store.engine).get(ann, of_ann.id)


def test_a_deleted_job_is_not_told_of(store: JobStore) -> None:
    hook, job = add(store), add_job(store, "0-1")
    end(store, job)

    Deletions(store).job(job.id)

    assert events(store, hook) == []


def test_a_new_secret_signs_beside_that_of_before_for_a_day(store: JobStore) -> None:
    hook, first = Hooks(store.engine).add(None, "https://example.com")

    second = Hooks(store.engine).renew_secret(None, hook.id)

    assert Hooks(store.engine).get(None, hook.id).secrets == f"{second} {first}"
    with store.engine.begin() as db:
        db.execute(sa.text("update hooks set old_until = old_until - 86401"))
    assert Hooks(store.engine).get(None, hook.id).secrets == second


def test_a_person_has_so_many_hooks_and_nobody_elses(store: JobStore) -> None:
    ann, bob = person(store, "ann"), person(store, "bob")
    own = [add(store, ann) for _ in range(10)]

    with pytest.raises(Refused, match="10 webhooks at most"):
        add(store, ann)

    add(store, bob)
    assert len(Hooks(store.engine).of(ann)) == 10
    for act in (
        Hooks(store.engine).delete,
        Hooks(store.engine).get,
        Hooks(store.engine).renew_secret,
    ):
        with pytest.raises(UnknownHook):
            act(bob, own[0].id)


def test_tests_take_each_others_place_and_old_ends_are_forgotten(store: JobStore) -> None:
    hook, deliveries = add(store), Deliveries(store.engine)
    deliveries.add_test(hook)
    latest = deliveries.add_test(hook)
    assert [each.id for each in deliveries.of(hook)] == [latest]
    deliveries.delivered(deliveries.due()[0], "HTTP 204")
    end(store, add_job(store, "0-1"))
    with store.engine.begin() as db:
        db.execute(sa.text("update hook_deliveries set delivered_at = delivered_at - 700000"))

    deliveries.sweep()

    assert events(store, hook) == [("job.failed", "waiting")]
