"""What operators see of a whole deployment, and do to its queues and workers.

A `look` asks in a thread, when somebody wants to know, so that nobody waits for a neighbour; the
`monitor` has one for the `queues`, the `workers`, the `jobs` and the disks, and reckons what all of
it costs (`costs`). `controls` change what there is. The package knows no HTTP, and
may import `cutmv.dispatch` and everything
below.
"""

from cutmv.monitoring.controls import (
    UnknownQueue,
    delete,
    drain,
    pause,
    refill,
    replay,
    resume,
)
from cutmv.monitoring.costs import Cost
from cutmv.monitoring.jobs import JobsLook
from cutmv.monitoring.look import Look, Seen
from cutmv.monitoring.monitor import Monitor
from cutmv.monitoring.queues import DeadLetter, QueueSeen
from cutmv.monitoring.workers import RunningTask, WorkerSeen

__all__ = [
    "Cost",
    "DeadLetter",
    "JobsLook",
    "Look",
    "Monitor",
    "QueueSeen",
    "RunningTask",
    "Seen",
    "UnknownQueue",
    "WorkerSeen",
    "delete",
    "drain",
    "pause",
    "refill",
    "replay",
    "resume",
]
