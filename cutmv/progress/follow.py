"""The messages for one watcher of a job: a snapshot, then each change, until the job has ended.

The job store is the truth; events are hints that come sooner. A late watcher, a lost event or a
repeated one changes nothing: the store is read every LOAD_INTERVAL_S seconds, progress never goes
backwards, and nothing follows a final state.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from cutmv.jobs import Job, State
from cutmv.progress.event import ProgressEvent
from cutmv.progress.feed import ProgressFeed

#: Seconds between two readings of the job store while a job is watched.
LOAD_INTERVAL_S = 0.5
#: Seconds of silence after which a watcher is sent a tick, so that dead connections are found.
TICK_S = 10.0


def follow(
    load: Callable[[], Job], feed: ProgressFeed, *, stopped: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any] | None]:
    """Yield the messages for one watcher of the job that `load` loads; None is a tick.

    The first is {"type": "snapshot", "job": …}; then {"type": "progress", "job_id", "step_id",
    stage, percent, fps, speed, eta_s, out_time_s} and a snapshot at each change of state, the
    last of them final. Raises UnknownJob when there is no such job, or no longer.
    """
    job = load()
    with feed.subscribe(job.id) as subscriber:
        # Loaded again: this snapshot has all that happened before the feed was subscribed to.
        job = load()
        yield _snapshot(job)
        shown = Shown(job)
        loaded_at = sent_at = time.monotonic()
        while not job.state.final and not stopped():
            events = subscriber.take(max(0.0, loaded_at + LOAD_INTERVAL_S - time.monotonic()))
            messages = [event.to_message() for event in events if shown.accepts(event)]
            now = time.monotonic()
            if now - loaded_at >= LOAD_INTERVAL_S or any(event.is_final for event in events):
                loaded_at = now
                before, job = job, load()
                if _states(job) != _states(before):
                    shown, messages = Shown(job), [_snapshot(job)]
                else:
                    stored = map(ProgressEvent.of_step, job.steps)
                    messages += [event.to_message() for event in stored if shown.accepts(event)]
            for message in messages:
                yield message
                sent_at = now
            if now - sent_at >= TICK_S:
                yield None
                sent_at = now


class Shown:
    """What the watcher has been shown of each step that has not ended."""

    def __init__(self, job: Job) -> None:
        running = (step for step in job.steps if not step.state.final)
        self._latest = {step.id: ProgressEvent.of_step(step) for step in running}

    def accepts(self, event: ProgressEvent) -> bool:
        """Whether the watcher is to be shown `event`, which is then taken as shown."""
        before = self._latest.get(event.step_id)
        if before is None or event.is_final or event.percent is None or before.percent is None:
            return False
        if event.percent == before.percent:
            is_news = event.stage != before.stage
        else:
            is_news = before.percent < event.percent <= 100.0
        if is_news:
            self._latest[event.step_id] = event
        return is_news


def _snapshot(job: Job) -> dict[str, Any]:
    return {"type": "snapshot", "job": job.to_json()}


def _states(job: Job) -> list[State]:
    return [job.state, *(step.state for step in job.steps)]
