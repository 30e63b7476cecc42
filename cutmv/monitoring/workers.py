"""Which workers there are and how they are, asked of them by the broker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cutmv.app import app
from cutmv.config import Settings
from cutmv.worker import STATUS

#: Seconds in which workers must answer: over Redis or the hub; over queues, which are polled.
FAST_ANSWER_S, SLOW_ANSWER_S = 1.5, 5.0


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker has; `ran_s` is None while it waits for a process."""

    id: str
    name: str
    ran_s: float | None


@dataclass(frozen=True)
class WorkerSeen:
    """What a worker told: versions, the queues that it takes tasks from, and how it is.

    It has `slots` for tasks, of which `busy` are taken, and `reserved` counts those and the ones
    that wait in it. `unwell` are the last errors of threads by name. `operations` are counted since
    it began, `uptime_s` seconds ago. One of a version that can't tell has no `version`.
    """

    name: str
    version: str | None = None
    celery: str = ""
    python: str = ""
    pid: int = 0
    uptime_s: float = 0.0
    pool: str = ""
    slots: int = 0
    busy: int = 0
    reserved: int = 0
    active: Sequence[RunningTask] = ()
    queues: Sequence[str] = ()
    unwell: Mapping[str, str] | None = None
    ledger: str | None = None
    operations: Mapping[str, int] | None = None
    dropped_events: int = 0

    @classmethod
    def read(cls, name: str, told: object) -> "WorkerSeen":
        """What a reply tells; one of another version may tell less, or an error."""
        if not isinstance(told, Mapping) or "version" not in told:
            return cls(name)
        troubled = (told.get("threads") or {}).get("troubled") or {}
        return cls(
            name,
            version=str(told["version"]),
            celery=str(told.get("celery", "")),
            python=str(told.get("python", "")),
            pid=int(told.get("pid") or 0),
            uptime_s=float(told.get("uptime_s") or 0.0),
            pool=str(told.get("pool", "")),
            slots=int(told.get("slots") or 0),
            busy=int(told.get("busy") or 0),
            reserved=int(told.get("reserved") or 0),
            active=[
                RunningTask(str(each["id"]), str(each["name"]), each["ran_s"])
                for each in told.get("active", ())
            ],
            queues=[str(each) for each in told.get("queues", ())],
            unwell={key: each["last_error"] for key, each in troubled.items() if not each["well"]},
            ledger=told.get("ledger"),
            operations=told.get("operations"),
            dropped_events=int(told.get("dropped_events") or 0),
        )


def answer_s(settings: Settings) -> float:
    """Seconds in which workers must answer."""
    fast = settings.mode == "redis" or settings.edge_url
    return FAST_ANSWER_S if fast else SLOW_ANSWER_S


def look_at_workers(settings: Settings) -> Sequence[WorkerSeen]:
    """The workers that answer, by name; none without a broker. Raises as the broker does."""
    if settings.mode == "eager":
        return ()
    replies: list[dict[str, Any]] | None = app.control.broadcast(
        STATUS, reply=True, timeout=answer_s(settings)
    )
    told = {name: answer for reply in replies or () for name, answer in reply.items()}
    return [WorkerSeen.read(name, told[name]) for name in sorted(told)]
