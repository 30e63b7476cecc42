"""What one who watches a job is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cutmv.jobs import Claimed, Claims, Deletions, Job, JobStore, Output, UnknownJob
from cutmv.media import Progress
from cutmv.progress import ProgressEvent, ProgressFeed, follow
from tests.support.jobs import add_job
from tests.support.processes import wait_for


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield store
    store.close()


def event(job: Job, step: int = 0, percent: float = 10.0, stage: str = "cutting") -> dict[str, Any]:
    return {
        "uuid": job.steps[step].id,
        "job_id": job.id,
        "stage": stage,
        "percent": percent,
        "fps": 30.0,
        "speed": 1.5,
        "eta_s": 2.0,
        "out_time_s": 1.0,
    }


def arrive(feed: ProgressFeed, fields: dict[str, Any]) -> None:
    """Hand on an event that came in its wire form, as a receiver does."""
    if received := ProgressEvent.from_wire(fields):
        feed.publish(received)


class Watcher:
    """Follows a job in a thread, as a WebSocket does."""

    def __init__(self, store: JobStore, feed: ProgressFeed, job: Job) -> None:
        self.messages: list[dict[str, Any] | None] = []
        self.stop, self.gone = threading.Event(), False
        load: Callable[[], Job] = lambda: store.job(job.id)  # noqa: E731
        self._follow = follow(load, feed, stopped=self.stop.is_set)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_for(lambda: self.messages, what="the first snapshot")

    def _run(self) -> None:
        try:
            for message in self._follow:
                self.messages.append(message)
        except UnknownJob:
            self.gone = True

    def told(self, percent: float) -> bool:
        return any(m and m.get("percent") == percent for m in self.messages)

    def end(self) -> list[dict[str, Any] | None]:
        self.thread.join(10)
        assert not self.thread.is_alive(), "the follower did not end"
        return self.messages


def run_to_the_end(store: JobStore, job: Job) -> None:
    for step in job.steps:
        owner = Claims(store, step.id)
        claimed = owner.claim(step.id, "redis")
        assert isinstance(claimed, Claimed)
        owner.finish(claimed.step, Output("key", 1, "video/mp4"))


def test_a_watcher_gets_a_snapshot_then_events_then_the_end(store: JobStore) -> None:
    job, feed = add_job(store), ProgressFeed()
    watcher = Watcher(store, feed, job)

    arrive(feed, event(job, percent=10.0))
    wait_for(lambda: watcher.told(10.0))
    run_to_the_end(store, job)

    messages = [message for message in watcher.end() if message]
    assert messages[0]["type"] == "snapshot"
    assert messages[0]["job"]["state"] == "queued"
    assert messages[1] == {
        "type": "progress",
        "job_id": job.id,
        "step_id": job.steps[0].id,
        "stage": "cutting",
        "percent": 10.0,
        "fps": 30.0,
        "speed": 1.5,
        "eta_s": 2.0,
        "out_time_s": 1.0,
    }
    assert messages[-1]["job"]["state"] == "done"


def test_progress_that_came_without_an_event_is_found_in_the_store(store: JobStore) -> None:
    job = add_job(store)
    owner = Claims(store, "me")
    claimed = owner.claim(job.steps[0].id, "redis")
    assert isinstance(claimed, Claimed)
    watcher = Watcher(store, ProgressFeed(), job)

    owner.beat(claimed.step, "cutting", Progress(33.0))
    wait_for(lambda: watcher.told(33.0))

    store.cancel(job.id)
    assert (watcher.end()[-1] or {})["job"]["state"] == "cancelled"


def test_progress_never_goes_back(store: JobStore) -> None:
    job, feed = add_job(store), ProgressFeed()
    watcher = Watcher(store, feed, job)

    for percent in (50.0, 20.0, 60.0):
        arrive(feed, event(job, percent=percent))
        if percent != 20.0:
            wait_for(lambda percent=percent: watcher.told(percent))
    store.cancel(job.id)

    shown = [m["percent"] for m in watcher.end() if m and m["type"] == "progress"]
    assert shown == [50.0, 60.0]


def test_nothing_follows_the_end(store: JobStore) -> None:
    job, feed = add_job(store), ProgressFeed()
    run_to_the_end(store, job)
    arrive(feed, event(job, percent=99.0))

    messages = Watcher(store, feed, job).end()

    assert [message and message["type"] for message in messages] == ["snapshot"]


def test_events_of_other_jobs_and_of_strangers_are_not_told(store: JobStore) -> None:
    job, other, feed = add_job(store), add_job(store), ProgressFeed()
    watcher = Watcher(store, feed, job)

    arrive(feed, event(other, percent=10.0))
    arrive(feed, {**event(other, percent=20.0), "job_id": job.id})
    arrive(feed, {"job_id": job.id})
    arrive(feed, {**event(job), "percent": "40"})
    arrive(feed, event(job, percent=30.0))
    wait_for(lambda: watcher.told(30.0))
    store.cancel(job.id)

    shown = [m["percent"] for m in watcher.end() if m and m["type"] == "progress"]
    assert shown == [30.0]


def test_a_follower_ends_when_it_is_stopped_or_its_job_is_gone(store: JobStore) -> None:
    job, feed = add_job(store), ProgressFeed()
    stopped, orphan = Watcher(store, feed, job), Watcher(store, feed, job)

    stopped.stop.set()
    stopped.end()
    Deletions(store).job(job.id)
    orphan.end()
    assert orphan.gone

    with pytest.raises(UnknownJob):
        next(follow(lambda: store.job(job.id), feed))


def test_a_step_beyond_its_end_is_not_shown_again(store: JobStore) -> None:
    """A late event of a finished step, while its job goes on."""
    job, feed = add_job(store), ProgressFeed()
    watcher = Watcher(store, feed, job)
    owner = Claims(store, "me")
    claimed = owner.claim(job.steps[0].id, "redis")
    assert isinstance(claimed, Claimed)
    owner.finish(claimed.step, Output("key", 1, "video/mp4"))
    arrive(feed, {**event(job, percent=100.0), "stage": "done"})
    wait_for(
        lambda: any(
            m and m["type"] == "snapshot" and m["job"]["steps"][0]["state"] == "done"
            for m in watcher.messages
        )
    )

    arrive(feed, event(job, percent=99.0))
    arrive(feed, event(job, step=1, percent=5.0))
    wait_for(lambda: watcher.told(5.0))
    store.cancel(job.id)

    of_first = [
        m for m in watcher.end()
        if m and m["type"] == "progress" and m["step_id"] == job.steps[0].id
    ]  # fmt: skip
    assert of_first == []
