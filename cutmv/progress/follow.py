"""What one who watches a job is told: a snapshot first, then each change, until it ended.

The job store is the truth; events are hints that come sooner. So a late watcher, a lost event or
one that comes twice changes nothing: each second the store is asked, progress never goes
backwards, and nothing follows a final state.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cutmv.jobs import Job, State, UnknownJob
from cutmv.progress.hub import Hub

#: Seconds between looks at the store while a job is watched.
LOOK_S = 0.5
#: Seconds of silence after which a watcher is sent a tick, so that dead connections are found.
TICK_S = 10.0

#: What a watcher is sent of a step's progress, beside its ids.
_PROGRESS = ("stage", "percent", "fps", "speed", "eta_s", "out_time_s")


def follow(
    load: Callable[[], Job], hub: Hub, *, stopped: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any] | None]:
    """Yield the messages for one watcher of the job that `load` loads; None is a tick.

    The first is {"type": "snapshot", "job": …}; then {"type": "progress", "job_id", "step_id",
    stage, percent, fps, speed, eta_s, out_time_s} and a snapshot at each change of state, the
    last of them final. Raises UnknownJob at the first step when there is no such job.
    """
    job = load()
    with hub.subscribe(job.id) as subscription:
        # Loaded again: what happened before the subscription is in it, the rest are events.
        job = load()
        yield _snapshot(job)
        shown = {step.id: step.to_json() for step in job.steps}
        looked = sent = time.monotonic()
        while not job.state.final and not stopped():
            events = subscription.take(max(0.0, looked + LOOK_S - time.monotonic()))
            news = [_progress(event) for event in events if _is_news(event, shown)]
            now = time.monotonic()
            if now - looked >= LOOK_S or any(_ends(event) for event in events):
                looked = now
                try:
                    fresh = load()
                except UnknownJob:
                    return
                if _states(fresh) != _states(job):
                    news = [_snapshot(fresh)]
                else:
                    steps = [_of_store(step.to_json(), job.id) for step in fresh.steps]
                    news += [_progress(event) for event in steps if _is_news(event, shown)]
                job = fresh
            for message in news:
                _remember(message, shown)
                yield message
                sent = now
            if now - sent >= TICK_S:
                yield None
                sent = now


def _snapshot(job: Job) -> dict[str, Any]:
    return {"type": "snapshot", "job": job.to_json()}


def _progress(event: Mapping[str, Any]) -> dict[str, Any]:
    ids = {"type": "progress", "job_id": event["job_id"], "step_id": event["uuid"]}
    return {**ids, **{field: event.get(field) for field in _PROGRESS}}


def _of_store(step: Mapping[str, Any], job_id: str) -> dict[str, Any]:
    return {**step, "uuid": step["id"], "job_id": job_id}


def _is_news(event: Mapping[str, Any], shown: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an event is ahead of what was shown of its step, and that has not ended."""
    before = shown.get(event["uuid"])
    if before is None or State(before["state"]).final or _ends(event):
        return False
    percent = event.get("percent")
    if not isinstance(percent, int | float) or isinstance(percent, bool):
        return False
    if percent == before["percent"]:
        return bool(event.get("stage") != before["stage"])
    return bool(before["percent"] < percent <= 100.0)


def _ends(event: Mapping[str, Any]) -> bool:
    return event.get("stage") in (State.DONE, State.FAILED, State.CANCELLED)


def _states(job: Job) -> list[State]:
    return [job.state, *(step.state for step in job.steps)]


def _remember(message: dict[str, Any], shown: dict[str, dict[str, Any]]) -> None:
    if message["type"] == "snapshot":
        shown.update({step["id"]: step for step in message["job"]["steps"]})
    else:
        shown[message["step_id"]].update({field: message[field] for field in _PROGRESS})
