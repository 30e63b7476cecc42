"""What runs in a Celery worker: the task, and one attempt at a step.

`tasks` is thin: `cutmv.cut` runs a `step`, which claims it and cuts the clip in a folder of the
`workspace`, while a `heartbeat` keeps the claim and tells the progress to the `outboxes`. With
`patience` it waits for a neighbour that is away. `results`
is Celery's result backend over Redis. The package may import `cutmv.progress` and everything below.
"""

from cutmv.worker.analysis_task import analyse_upload
from cutmv.worker.patience import PATIENCE_S
from cutmv.worker.tasks import HARD_LIMIT_GRACE_S, LocalContext, cut, local_context
from cutmv.worker.workspace import sweep_workspace

__all__ = [
    "HARD_LIMIT_GRACE_S",
    "PATIENCE_S",
    "LocalContext",
    "analyse_upload",
    "cut",
    "local_context",
    "sweep_workspace",
]
