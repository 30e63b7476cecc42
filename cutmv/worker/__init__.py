"""What runs in a Celery worker: the task, and one attempt at a step.

`tasks` is thin: `cutmv.cut` runs a `step`, which claims it and has it made (`making`) in a folder
of the `workspace`, while a `heartbeat` keeps the claim and tells the progress to the `outboxes`.
The outputs of one clip are made `together`, in one task; what takes long is divided into parts.
`derivative_tasks` make what is kept beside an upload (`derivative`).
`sending` publishes all of them. With `patience` a run waits for a neighbour that is away. `results`
is Celery's result backend over Redis, and `operating` tells operators. The
package may import `cutmv.progress` and everything below.
"""

from cutmv.worker.derivative_tasks import (
    analyse_upload,
    derivative_id,
    overview_upload,
    proxy_upload,
)
from cutmv.worker.operating import CONSUME, STATUS
from cutmv.worker.patience import NEIGHBOURS, answered, missed, neighbour_away
from cutmv.worker.sending import HARD_LIMIT_GRACE_S, publish, queue_for, tasks_of
from cutmv.worker.tasks import (
    PASSING_ERRORS,
    WAIT_S,
    LocalContext,
    backoff_s,
    cut,
    local_context,
)
from cutmv.worker.workspace import sweep_workspace

__all__ = [
    "CONSUME",
    "HARD_LIMIT_GRACE_S",
    "NEIGHBOURS",
    "PASSING_ERRORS",
    "STATUS",
    "WAIT_S",
    "LocalContext",
    "analyse_upload",
    "answered",
    "backoff_s",
    "cut",
    "derivative_id",
    "local_context",
    "missed",
    "neighbour_away",
    "overview_upload",
    "proxy_upload",
    "publish",
    "queue_for",
    "sweep_workspace",
    "tasks_of",
]
