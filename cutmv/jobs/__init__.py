"""What a job is, and where it is kept.

`model` (pure) ← `tables` ← `store` ← `claims`. `request` turns what a person asked for into a
job. `submit` stands above the Celery tasks, which stand above the rest, so it is not imported
here; `breaker` is its own.
"""

from cutmv.jobs.claims import Busy, Claimed, Claims, Ended
from cutmv.jobs.model import (
    Job,
    Output,
    State,
    Step,
    UnknownJob,
    UnknownUpload,
    Upload,
    new_id,
)
from cutmv.jobs.store import JobStore

__all__ = [
    "Busy",
    "Claimed",
    "Claims",
    "Ended",
    "Job",
    "JobStore",
    "Output",
    "State",
    "Step",
    "UnknownJob",
    "UnknownUpload",
    "Upload",
    "new_id",
]
