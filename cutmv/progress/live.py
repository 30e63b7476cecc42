"""The live view: what happens to jobs is told to all who look on.

The job store is the truth, which one thread reads twice a second; events are hints that come
sooner, by another. What a watcher begins with is read under the lock under which all is told, and a
look tells nothing that it has read before: so nothing older follows. Progress never goes backwards,
and nothing follows a final state.
"""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cutmv.database import DATABASE_AWAY
from cutmv.jobs import Job, JobStore, LiveJobs, Mark, State, Step, UnknownJob
from cutmv.progress.audience import Audience, Ending, Watcher
from cutmv.progress.event import ProgressEvent
from cutmv.progress.feed import ProgressFeed
from cutmv.progress.journal import Entry, Journal, View
from cutmv.progress.shown import Shown
from cutmv.transports.cloudflare import keep_going

#: The name by which errors of the threads are counted.
NAME = "live"
#: Seconds between two looks at the job store; more where a look takes long.
LOOK_S, LOOKS_PART = 0.5, 4.0
#: Seconds between looks while the database is away.
AWAY_S = 2.0
#: Seconds for which is journaled what somebody sees who has gone, and may come back.
LINGER_S = 60.0
#: Jobs of a view's list, and jobs that have ended whose deletion is noticed.
LISTED, MAX_ENDED = 20, 2_000


@dataclass(frozen=True)
class Position:
    """Where somebody was in a journal."""

    epoch: str
    seq: int


@dataclass(frozen=True)
class _Known:
    """A job as it was told; with its steps (`job`, `shown`) if it runs or is watched."""

    person_id: str | None
    mark: Mark
    summary: dict[str, object]
    job: Job | None
    shown: Shown | None


class Live:
    """What happens to jobs, for all views of one process. Threads share it; it has two of its own.

    >>> live.watch(watcher, View(of=person_id))
    >>> live.leave(watcher)
    """

    def __init__(self, store: JobStore, feed: ProgressFeed) -> None:
        self._store, self._jobs, self._feed = store, LiveJobs(store), feed
        self._lock = threading.Lock()
        self._journal, self._audience = Journal(), Audience()
        #: When somebody last looked, by whose jobs they see, and since which entry we journal them.
        self._seen: dict[str | None, float] = {}
        self._since: dict[str | None, int] = {}
        #: When somebody last looked at a job in detail.
        self._watched: dict[str, float] = {}
        self._known: dict[str, _Known] = {}
        #: The jobs that were told anew since a look began, which knows less of them.
        self._newer: set[str] = set()
        self._closing, self._hurry = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=keep_going, args=(NAME, work, self._closing), daemon=True)
            for work in (self._look_on, self._listen)
        ]

    def start(self) -> None:
        """Begin to look, and to take events."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads."""
        self._closing.set()
        self._hurry.set()
        for thread in self._threads:
            thread.join(2 * LOOK_S)

    def watch(self, watcher: Watcher, view: View, at: Position | None = None) -> None:
        """Tell what a view begins with, and then each change, until the watcher leaves.

        It begins with what came since `at`, if all of that is known; else all anew. Raises
        SQLAlchemyError.
        """
        with self._lock:
            resumed = at is not None and self._goes_on(view, at)
            self._touch(view)
            if at is not None and resumed:
                texts = self._texts(view, at.seq)
            else:
                watched = self._in_detail(view)
                listed = self._store.jobs(LISTED, None, view.of)
                for job in listed:
                    self._know(job)
                jobs = {"type": "jobs", "seq": self._journal.seq}
                texts = [json.dumps({**jobs, "jobs": [job.to_summary() for job in listed]})]
                texts += self._begins(view, watched)
            hello = {"type": "hello", "epoch": self._journal.epoch, "seq": self._journal.seq}
            for text in (json.dumps({**hello, "resumed": resumed}), *texts):
                watcher.tell(text)
            self._audience.add(watcher, view)

    def turn(self, watcher: Watcher, watched: str | None) -> None:
        """Have somebody who watches see another job in detail. Raises SQLAlchemyError."""
        with self._lock:
            before = self._audience.view_of(watcher)
            if before is None or before.watched == watched:
                return
            view = replace(before, watched=watched)
            for text in self._begins(view, self._in_detail(view)):
                watcher.tell(text)
            self._audience.add(watcher, view)

    def follow(self, watcher: Watcher, job_id: str, of: str | None) -> None:
        """Tell of one job of the person `of`, or anybody's (None), until it ends.

        A snapshot first, and at each change of state; progress between them. Raises UnknownJob and
        SQLAlchemyError.
        """
        with self._lock:
            job = self._store.job(job_id, of)
            self._see(job)
            watcher.tell(_snapshot(job))
            if job.state.final:
                watcher.end(Ending.JOB_ENDED)
            else:
                self._audience.add_alone(watcher, job.id)

    def leave(self, watcher: Watcher) -> None:
        """Tell a watcher no more; who is gone already may leave again."""
        with self._lock:
            self._audience.remove(watcher)

    def look(self) -> None:
        """Tell what has changed in the job store. One thread calls it. Raises SQLAlchemyError.

        Events are told while the store is read.
        """
        with self._lock:
            self._newer.clear()
            self._forget()
            if not self._seen and not self._watched:
                self._known.clear()
                return
            of = None if None in self._seen else [each for each in self._seen if each is not None]
            known = tuple(self._known)
        marks = self._jobs.marks(of, known)
        with self._lock:
            changed = [job_id for job_id, mark in marks.items() if self._may_differ(job_id, mark)]
        loaded = self._jobs.load(changed)
        with self._lock:
            for job_id in set(known) - marks.keys() - self._newer:
                gone = self._known.pop(job_id)
                told = {"type": "deleted", "job_id": job_id}
                self._tell(gone.person_id, job_id, told, detail=False)
                self._audience.end_alone(job_id, Ending.JOB_DELETED)
            for job in loaded:
                if job.id not in self._newer:
                    self._compare(job)

    def take(self, events: Iterable[ProgressEvent]) -> bool:
        """Journal progress events of jobs that are watched; tell whether a step has ended."""
        has_ended = False
        with self._lock:
            for event in events:
                has_ended |= event.is_final
                known = self._known.get(event.job_id) if event.job_id in self._watched else None
                if known and known.shown and known.shown.accepts(event):
                    self._tell_progress(known.person_id, event)
        return has_ended

    def _look_on(self) -> None:
        """Look again and again: twice a second, and soon after a step has ended."""
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self.look()
                pause_s = max(LOOK_S, (LOOKS_PART - 1) * (time.monotonic() - began))
            except DATABASE_AWAY:  # views stay as they are
                pause_s = AWAY_S
            self._closing.wait(time.monotonic() - began)  # half of the time it rests, at least
            self._hurry.wait(pause_s)
            self._hurry.clear()

    def _listen(self) -> None:
        """Tell events as they come."""
        with self._feed.subscribe_all() as subscriber:
            while not self._closing.is_set():
                if self.take(subscriber.take(LOOK_S)):
                    self._hurry.set()

    def _touch(self, view: View) -> None:
        now = time.monotonic()
        if view.of not in self._seen:
            self._since[view.of] = self._journal.skip()
        self._seen[view.of] = now
        if view.watched is not None and view.watched in self._known:
            self._watched[view.watched] = now

    def _goes_on(self, view: View, at: Position) -> bool:
        """Whether all that a view shows after `at` is in the journal."""
        return (
            at.epoch == self._journal.epoch
            and view.of in self._seen
            and at.seq >= self._since[view.of]
            # One that is not known is gone, and that was told.
            and (view.watched in self._watched or view.watched not in self._known)
            and self._journal.has_all_since(at.seq)
        )

    def _texts(self, view: View, seq: int) -> list[str]:
        return [entry.text for entry in self._journal.since(seq) if view.shows(entry)]

    def _in_detail(self, view: View) -> Job | None:
        """The job that a view has in detail, if there is one; all are told what is new of it."""
        if view.watched is None:
            return None
        try:
            job = self._store.job(view.watched, view.of)
        except UnknownJob:
            return None
        self._see(job)
        return job

    def _begins(self, view: View, watched: Job | None) -> list[str]:
        """What a view's detail begins with: its job, or that this is gone."""
        if view.watched is None:
            return []
        if watched is None:
            told = {"type": "deleted", "job_id": view.watched, "seq": self._journal.seq}
            return [json.dumps(told)]
        return [_snapshot(watched, seq=self._journal.seq)]

    def _know(self, job: Job) -> None:
        """Note a job as it was just told to one; what others know of it stays what they know."""
        self._newer.add(job.id)
        self._known.setdefault(job.id, _known(job, detail=False))

    def _see(self, job: Job) -> None:
        """Have a job told in detail from here on: who knows it is told first what is new of it."""
        self._watched[job.id] = time.monotonic()
        self._newer.add(job.id)
        if job.id in self._known:
            self._compare(job)
        else:
            self._known[job.id] = _known(job, detail=True)

    def _may_differ(self, job_id: str, mark: Mark) -> bool:
        known = self._known.get(job_id)
        if known is None or known.mark != mark:
            return True
        return mark.state == State.RUNNING or job_id in self._watched

    def _compare(self, job: Job) -> None:
        """Journal what has changed of a job since it was told."""
        known, detail = self._known.pop(job.id, None), job.id in self._watched
        now = _known(job, detail=detail)
        if known is None or known.summary != now.summary:
            told = {"type": "job", "job": now.summary}
            self._tell(job.person_id, job.id, told, detail=False)
        if detail and known and known.job and known.shown:
            now = replace(now, shown=self._compare_steps(known.job, known.shown, job))
        self._known[job.id] = now

    def _compare_steps(self, before: Job, shown: Shown, job: Job) -> Shown:
        """Tell what has changed of a job in detail; returns what was shown of it then."""
        steps = {step.id: step for step in before.steps}
        changed = [step for step in job.steps if _still(step) != _still(steps[step.id])]
        for step in changed:
            told = {"type": "step", "job_id": job.id, "step": step.to_json()}
            self._tell(job.person_id, job.id, told, detail=True)
        if changed or job.state is not before.state:
            self._tell_alone(job)
        if changed:
            return Shown(job)
        for event in map(ProgressEvent.of_step, job.steps):
            if shown.accepts(event):
                self._tell_progress(job.person_id, event)
        return shown

    def _tell(
        self, person_id: str | None, job_id: str, message: Mapping[str, object], *, detail: bool
    ) -> Entry:
        entry = self._journal.add(person_id, job_id, message, detail=detail)
        self._audience.tell(entry)
        return entry

    def _tell_progress(self, person_id: str | None, event: ProgressEvent) -> None:
        entry = self._tell(person_id, event.job_id, event.to_message(), detail=True)
        self._audience.tell_alone(event.job_id, entry.text)

    def _tell_alone(self, job: Job) -> None:
        if self._audience.has_alone(job.id):
            self._audience.tell_alone(job.id, _snapshot(job))
        if job.state.final:
            self._audience.end_alone(job.id, Ending.JOB_ENDED)

    def _forget(self) -> None:
        """Forget what nobody looks at any more."""
        for view in self._audience.views:
            self._touch(view)
        now = time.monotonic()
        self._watched |= dict.fromkeys(self._audience.alone, now)
        gone = now - LINGER_S
        for of in [of for of, at in self._seen.items() if at < gone]:
            del self._seen[of], self._since[of]
        for job_id in [job_id for job_id, at in self._watched.items() if at < gone]:
            del self._watched[job_id]
        ended = [job_id for job_id, known in self._known.items() if known.mark.finished_at]
        for job_id in ended[: max(0, len(ended) - MAX_ENDED)]:
            if job_id not in self._watched:
                del self._known[job_id]


def _snapshot(job: Job, **more: int) -> str:
    return json.dumps({"type": "snapshot", "job": job.to_json(), **more})


def _known(job: Job, *, detail: bool) -> _Known:
    mark = Mark(job.state.value, job.route, job.finished_at, job.mail_wanted)
    kept = (job, Shown(job)) if detail else (None, None)
    return _Known(job.person_id, mark, job.to_summary(), *kept)


def _still(step: Step) -> Step:
    """A step without what its progress tells."""
    stage = None if step.state is State.RUNNING else step.stage
    return replace(
        step, percent=0.0, stage=stage, fps=None, speed=None, eta_s=None, out_time_s=None
    )
