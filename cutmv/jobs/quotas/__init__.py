"""How much one person may have: jobs at once, waiting steps.

`refusals` are what is beyond. `at_once` says which jobs wait for others of their person, `waiting`
how many steps somebody may have that wait. All is asked in the transaction that changes it, so that
nothing is counted twice, or forgotten by a process that died. The package imports `cutmv.jobs`'
tables and model alone.
"""

from cutmv.jobs.quotas.at_once import client, held_jobs
from cutmv.jobs.quotas.refusals import TooManySteps
from cutmv.jobs.quotas.waiting import alone_with, require_steps

__all__ = ["TooManySteps", "alone_with", "client", "held_jobs", "require_steps"]
