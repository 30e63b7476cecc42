"""`cutmv.progress.live` on a real job store, looked at when the test says so."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from cutmv.jobs import Claimed, Claims, Deletions, Job, JobStore, Output
from cutmv.media import Progress
from cutmv.people import Accounts
from cutmv.progress import Live, Position, ProgressEvent, ProgressFeed, View
from cutmv.progress import live as module
from tests.support.jobs import add_job
from tests.support.watchers import Tab

ALL = View(None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield store
    store.close()


@pytest.fixture
def live(store: JobStore) -> Live:
    return Live(store, ProgressFeed())


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def begin(store: JobStore, job: Job, number: int = 0) -> tuple[Claims, Claimed]:
    claims = Claims(store, "an owner")
    claimed = claims.claim(job.steps[number].id, "eager")
    assert isinstance(claimed, Claimed)
    return claims, claimed


def test_a_view_begins_with_the_list_and_the_job_that_is_watched(
    store: JobStore, live: Live
) -> None:
    job = add_job(store)

    hello, jobs, snapshot = Tab(live, View(None, job.id)).begun

    assert (hello["type"], hello["resumed"]) == ("hello", False)
    assert [each["id"] for each in jobs["jobs"]] == [job.id]
    assert jobs["jobs"][0]["outputs"] == {"done": 0, "all": 2}
    assert snapshot["job"] == json.loads(json.dumps(store.job(job.id).to_json()))


def test_a_job_runs_before_the_eyes_of_who_looks_on(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    tab, other = Tab(live, View(None, job.id)), Tab(live, ALL)
    claims, claimed = begin(store, job)
    assert kinds(tab.read()) == ["job", "step"]

    claims.beat(claimed.step, "cutting", Progress(40.0, fps=50.0))
    job_told, progress = tab.read()
    assert (job_told["job"]["percent"], progress["percent"], progress["fps"]) == (40.0, 40.0, 50.0)
    claims.finish(claimed.step, Output("a/key", 5, "video/mp4"))
    ended, step = tab.read()

    assert (ended["job"]["state"], ended["job"]["outputs"]["done"]) == ("done", 1)
    assert step["step"]["output"]["size"] == 5
    assert tab.read() == []
    assert kinds(other.take()) == ["job", "job", "job"]
    assert [each["seq"] for each in tab.told] == sorted(each["seq"] for each in tab.told)


def test_an_event_is_told_before_the_store_is_looked_at(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    tab, other = Tab(live, View(None, job.id)), Tab(live, ALL)
    begin(store, job)
    tab.read()
    step = job.steps[0].id

    ended = live.take([ProgressEvent(step, job.id, "cutting", 30.0)])
    live.take([ProgressEvent(step, job.id, "cutting", 20.0)])
    live.take([ProgressEvent("another", "of another job", "cutting", 20.0)])

    assert not ended
    assert [(each["type"], each["percent"]) for each in tab.take()] == [("progress", 30.0)]
    assert kinds(other.take()) == ["job"]
    assert live.take([ProgressEvent(step, job.id, "done", 100.0)])


def test_two_tabs_of_one_person_are_told_the_same_in_the_same_order(
    store: JobStore, live: Live
) -> None:
    job = add_job(store)
    one, two = Tab(live, View(None, job.id)), Tab(live, View(None, job.id))
    for number in range(2):
        claims, claimed = begin(store, job, number)
        one.read()
        claims.finish(claimed.step, Output("a/key", 5, "video/mp4"))
        one.read()

    two.take()

    assert one.told == two.told
    assert len(one.told) > 4


def test_who_comes_back_is_told_what_they_missed_and_no_more(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    view = View(None, job.id)
    left, stayed = Tab(live, view), Tab(live, view)
    claims, claimed = begin(store, job)
    stayed.read()
    claims.beat(claimed.step, "cutting", Progress(40.0))
    stayed.read()

    back = Tab(live, view, left.at)

    assert back.begun[0]["resumed"]
    assert back.begun[1:] == stayed.told
    assert back.seq == stayed.seq


@pytest.mark.parametrize("missed", ["another epoch", "the future", "what is forgotten", "another"])
def test_who_has_missed_something_begins_anew(store: JobStore, missed: str) -> None:
    live = Live(store, ProgressFeed())
    job, other = add_job(store, "0-1"), add_job(store, "0-1")
    view = View(None, job.id)
    left = Tab(live, view)
    at = left.at
    if missed == "another epoch":
        at = Position("another", at.seq)
    elif missed == "the future":
        at = Position(at.epoch, at.seq + 1)
    elif missed == "another":
        view = View(None, other.id)
    else:
        live._journal._max_bytes = 1
        begin(store, job)
        live.look()

    back = Tab(live, view, at)

    assert kinds(back.begun) == ["hello", "jobs", "snapshot"]
    assert not back.begun[0]["resumed"]


def test_who_was_away_for_long_begins_anew_and_costs_nothing(
    store: JobStore, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add_job(store, "0-1")
    left = Tab(live, View(None, job.id))
    left.leave()
    monkeypatch.setattr(module, "LINGER_S", 0.0)

    live.look()

    assert not (live._known or live._seen or live._since or live._watched)
    assert not Tab(live, View(None, job.id), left.at).begun[0]["resumed"]


def test_people_see_their_own_alone(store: JobStore, live: Live) -> None:
    accounts = Accounts(store.engine)
    ann, bob = (str(accounts.add(f"{name}@example.com").id) for name in ("ann", "bob"))
    of_ann = add_job(store, "0-1", person_id=ann)
    anns, bobs = Tab(live, View(ann, of_ann.id)), Tab(live, View(bob, of_ann.id))
    boss = Tab(live, ALL)
    assert bobs.begun[1]["jobs"] == []
    assert bobs.begun[2] == {"type": "deleted", "job_id": of_ann.id, "seq": 2}

    begin(store, of_ann)
    of_bob = add_job(store, "0-1", person_id=bob)
    live.look()

    assert kinds(anns.take()) == ["job", "step"]
    assert [each["job"]["id"] for each in bobs.take()] == [of_bob.id]
    assert kinds(boss.take()) == ["job", "job"]
    live.turn(bobs, None)
    live.turn(bobs, of_ann.id)
    assert kinds(bobs.take()) == ["deleted"]


def test_to_turn_to_another_job_loses_nothing(store: JobStore, live: Live) -> None:
    first, second = add_job(store, "0-1"), add_job(store, "0-1")
    tab = Tab(live, View(None, first.id))
    begin(store, first)
    live.look()

    live.turn(tab, second.id)
    begin(store, second)
    live.look()

    told = tab.take()
    assert kinds(told) == ["job", "step", "snapshot", "job", "step"]
    assert told[2]["job"]["id"] == told[-1]["job_id"] == second.id


def test_a_job_that_is_deleted_goes_from_every_list(store: JobStore, live: Live) -> None:
    running, ended = add_job(store, "0-1"), add_job(store, "0-1")
    store.cancel(ended.id)
    tab = Tab(live, View(None, running.id))

    for job in (running, ended):
        Deletions(store).job(job.id)
    told = tab.read()

    assert {(each["type"], each["job_id"]) for each in told} == {
        ("deleted", running.id),
        ("deleted", ended.id),
    }
    assert tab.read() == []


def test_a_deleted_output_of_a_job_that_is_watched_is_told(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    claims, claimed = begin(store, job)
    claims.finish(claimed.step, Output("a/key", 5, "video/mp4"))
    tab = Tab(live, View(None, job.id))

    Deletions(store).output(job.id, job.steps[0].name)

    [told] = tab.read()
    assert (told["type"], told["step"]["output"]) == ("step", None)


def test_what_is_known_of_jobs_that_ended_is_bounded(
    store: JobStore, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENDED", 3)
    monkeypatch.setattr("cutmv.jobs.results.live.RECENT_S", 0.0)
    Tab(live, ALL)
    for _ in range(8):
        job = add_job(store, "0-1")
        live.look()
        store.cancel(job.id)
    live.look()
    live.look()

    assert len(live._known) <= 4


def test_what_happened_to_somebody_s_jobs_while_nobody_looked_is_not_taken_for_nothing(
    store: JobStore, live: Live
) -> None:
    accounts = Accounts(store.engine)
    ann, bob = (str(accounts.add(f"{name}@example.com").id) for name in ("ann", "bob"))
    left, stays = Tab(live, View(ann)), Tab(live, View(bob))
    left.leave()
    live._seen[ann] -= 2 * module.LINGER_S
    stays.read()
    job = add_job(store, "0-1", person_id=ann)
    stays.read()

    Tab(live, View(ann))  # another tab of hers, by which her jobs are looked at again
    back = Tab(live, View(ann), left.at)

    assert stays.told == []
    assert not back.begun[0]["resumed"]
    assert [each["id"] for each in back.begun[1]["jobs"]] == [job.id]


def test_a_job_that_is_made_and_ends_between_two_looks_is_told_once(
    store: JobStore, live: Live
) -> None:
    tab = Tab(live, ALL)
    job = add_job(store, "0-1")
    store.cancel(job.id)

    [told] = tab.read()

    assert (told["job"]["id"], told["job"]["state"]) == (job.id, "cancelled")
    assert tab.read() == []


def test_who_has_left_is_told_nothing_more(store: JobStore, live: Live) -> None:
    job = add_job(store, "0-1")
    left, stays = Tab(live, View(None, job.id)), Tab(live, View(None, job.id))
    left.leave()
    left.leave()

    begin(store, job)

    assert kinds(stays.read()) == ["job", "step"]
    assert left.take() == []
    live.turn(left, None)
    assert left.take() == []


def test_all_who_look_on_are_told_the_same_text_which_is_made_once(
    store: JobStore, live: Live
) -> None:
    job = add_job(store, "0-1")
    tabs = [Tab(live, View(None, job.id)) for _ in range(3)]
    begin(store, job)

    live.look()

    first, *others = [tab.texts for tab in tabs]
    assert len(first) == 2
    assert all(one is two for each in others for one, two in zip(first, each, strict=True))


def test_who_comes_while_the_store_is_read_is_told_nothing_older(
    store: JobStore, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add_job(store, "0-1")
    stayed, came = Tab(live, View(None, job.id)), list[Tab]()
    begin(store, job)
    load = live._jobs.load

    def load_and_wait(ids: Collection[str]) -> list[Job]:
        found = load(ids)
        store.cancel(job.id)
        came.append(Tab(live, View(None, job.id)))
        live.take([ProgressEvent(job.steps[0].id, job.id, "cutting", 30.0)])
        return found

    with monkeypatch.context() as waiting:
        waiting.setattr(live._jobs, "load", load_and_wait)
        live.look()
    live.look()

    assert came[0].begun[-1]["job"]["state"] == "cancelled"
    assert came[0].take() == []
    told = stayed.take()
    assert kinds(told) == ["job", "step"]
    assert told[0]["job"]["state"] == "cancelled"
