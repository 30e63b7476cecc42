"""For operators: what they see of everybody's jobs (`looking`), and do to `single_steps`.

The package imports `cutmv.jobs`' tables, rows, model, store and backlog.
"""

from cutmv.jobs.oversight.looking import RATE_S, FailedStep, Holding, JobsSeen, LiveStep, look
from cutmv.jobs.oversight.single_steps import NotFailed, NotOpen, retry, revoke

__all__ = [
    "RATE_S",
    "FailedStep",
    "Holding",
    "JobsSeen",
    "LiveStep",
    "NotFailed",
    "NotOpen",
    "look",
    "retry",
    "revoke",
]
