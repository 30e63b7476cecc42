"""The live view: one thread looks at the jobs of all who look on, and journals what changes.

The job store is the truth, which is read twice a second; events are hints that come sooner. What a
view begins with is read under the same lock as what changes, so that nothing older follows it.
"""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cutmv.database import DATABASE_AWAY
from cutmv.jobs import Job, JobStore, LiveJobs, Mark, State, Step, UnknownJob
from cutmv.progress.event import ProgressEvent
from cutmv.progress.feed import ProgressFeed
from cutmv.progress.follow import Shown
from cutmv.progress.journal import Journal, View
from cutmv.transports.cloudflare import keep_going

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
class News:
    """The texts that somebody has not seen, and where they are then."""

    texts: list[str]
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
    """What happens to jobs, for all views of one process. Threads share it; it has one of its own.

    >>> news = live.open(View(of=person_id), None)
    >>> news = live.wait(View(of=person_id), news.seq, timeout_s=1.0)
    """

    def __init__(self, store: JobStore, feed: ProgressFeed) -> None:
        self._store, self._jobs, self._feed = store, LiveJobs(store), feed
        self._changed = threading.Condition(threading.RLock())
        self._journal = Journal()
        #: When somebody last looked, by whose jobs they see, and since which entry we journal them.
        self._seen: dict[str | None, float] = {}
        self._since: dict[str | None, int] = {}
        #: When somebody last looked at a job in detail.
        self._watched: dict[str, float] = {}
        self._known: dict[str, _Known] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join(2 * LOOK_S)

    def open(self, view: View, at: Position | None) -> News:
        """What a view begins with: what came since `at`, if all of that is known; else all anew.

        Raises SQLAlchemyError.
        """
        with self._changed:
            resumed = at is not None and self._goes_on(view, at)
            self._touch(view)
            epoch, seq = self._journal.epoch, self._journal.seq
            hello = {"type": "hello", "epoch": epoch, "seq": seq, "resumed": resumed}
            if at is not None and resumed:
                return News([json.dumps(hello), *self._texts(view, at.seq)], seq)
            listed = self._store.jobs(LISTED, None, view.of)
            for job in listed:
                self._note(job, detail=False)
            jobs = {"type": "jobs", "seq": seq, "jobs": [job.to_summary() for job in listed]}
            texts = [json.dumps(hello), json.dumps(jobs)]
            return News(texts + self._in_detail(view), seq)

    def turn(self, before: View, view: View, seq: int) -> News:
        """What somebody has not seen `before` they turn to another view, and what that begins with.

        Raises SQLAlchemyError.
        """
        with self._changed:
            texts = self._texts(before, seq)
            self._touch(view)
            return News(texts + self._in_detail(view), self._journal.seq)

    def wait(self, view: View, seq: int, timeout_s: float) -> News | None:
        """What comes after `seq`, which is waited for; None where some of that is forgotten."""
        with self._changed:
            self._touch(view)
            self._changed.wait_for(lambda: self._journal.seq > seq, timeout_s)
            if not self._goes_on(view, Position(self._journal.epoch, seq)):
                return None
            return News(self._texts(view, seq), self._journal.seq)

    def look(self) -> None:
        """Journal what has changed in the job store. Raises SQLAlchemyError."""
        with self._changed:
            self._forget()
            if not self._seen:
                self._known.clear()
                return
            of = None if None in self._seen else [each for each in self._seen if each is not None]
            marks = self._jobs.marks(of, self._known)
            for job_id in self._known.keys() - marks.keys():
                gone = self._known.pop(job_id)
                told = {"type": "deleted", "job_id": job_id}
                self._journal.add(gone.person_id, job_id, told, detail=False)
            changed = [job_id for job_id, mark in marks.items() if self._may_differ(job_id, mark)]
            for job in self._jobs.load(changed):
                self._compare(job)
            self._changed.notify_all()

    def take(self, events: Iterable[ProgressEvent]) -> bool:
        """Journal progress events of jobs that are watched; tell whether a step has ended."""
        has_ended = False
        with self._changed:
            for event in events:
                has_ended |= event.is_final
                known = self._known.get(event.job_id) if event.job_id in self._watched else None
                if known and known.shown and known.shown.accepts(event):
                    self._tell_progress(known.person_id, event)
            self._changed.notify_all()
        return has_ended

    def _run(self) -> None:
        keep_going("live", self._follow, self._closing)

    def _follow(self) -> None:
        due = 0.0
        with self._feed.subscribe_all() as subscriber:
            while not self._closing.is_set():
                left_s = min(LOOK_S, max(0.0, due - time.monotonic()))
                has_ended = self.take(subscriber.take(left_s))
                began = time.monotonic()
                if began < due and not has_ended:
                    continue
                try:
                    self.look()
                    took_s = time.monotonic() - began
                    due = began + max(LOOK_S, LOOKS_PART * took_s)
                except DATABASE_AWAY:  # views stay as they are
                    due = began + AWAY_S

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

    def _in_detail(self, view: View) -> list[str]:
        """The job that a view has in detail; or that it is gone."""
        if view.watched is None:
            return []
        told: dict[str, object] = {"seq": self._journal.seq}
        try:
            job = self._store.job(view.watched, view.of)
        except UnknownJob:
            told |= {"type": "deleted", "job_id": view.watched}
        else:
            self._watched[job.id] = time.monotonic()
            self._note(job, detail=True)
            told |= {"type": "snapshot", "job": job.to_json()}
        return [json.dumps(told)]

    def _note(self, job: Job, *, detail: bool) -> None:
        """Note a job as it was just told to one; what others know of it stays what they know."""
        known = self._known.get(job.id)
        if known is None:
            self._known[job.id] = _known(job, detail=detail)
        elif detail and known.job is None:
            self._known[job.id] = replace(known, job=job, shown=Shown(job))

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
            self._journal.add(job.person_id, job.id, told, detail=False)
        if detail and known and known.job and known.shown:
            now = replace(now, shown=self._compare_steps(known.job, known.shown, job))
        self._known[job.id] = now

    def _compare_steps(self, before: Job, shown: Shown, job: Job) -> Shown:
        steps = {step.id: step for step in before.steps}
        changed = [step for step in job.steps if _still(step) != _still(steps[step.id])]
        for step in changed:
            told = {"type": "step", "job_id": job.id, "step": step.to_json()}
            self._journal.add(job.person_id, job.id, told, detail=True)
        if changed:
            return Shown(job)
        for event in map(ProgressEvent.of_step, job.steps):
            if shown.accepts(event):
                self._tell_progress(job.person_id, event)
        return shown

    def _tell_progress(self, person_id: str | None, event: ProgressEvent) -> None:
        self._journal.add(person_id, event.job_id, event.to_message(), detail=True)

    def _forget(self) -> None:
        """Forget what nobody looks at any more."""
        gone = time.monotonic() - LINGER_S
        for of in [of for of, at in self._seen.items() if at < gone]:
            del self._seen[of], self._since[of]
        for job_id in [job_id for job_id, at in self._watched.items() if at < gone]:
            del self._watched[job_id]
        ended = [job_id for job_id, known in self._known.items() if known.mark.finished_at]
        for job_id in ended[: max(0, len(ended) - MAX_ENDED)]:
            if job_id not in self._watched:
                del self._known[job_id]


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
