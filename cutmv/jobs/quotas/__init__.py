"""How much one person may have: jobs at once, steps that wait, bytes stored, rows kept.

`refusals` are what is beyond. `at_once` says which jobs wait for others of their person, `waiting`
how many steps somebody may have that wait, `stored` how many bytes, and `kept` how many rows;
`reservations` keep the bytes of uploads on their way, and `usage` tells people what they use. All
is asked in the transaction that changes it, so that nothing is counted twice, or forgotten by a
process that died. The package imports `cutmv.jobs`' tables and model, and `cutmv.people`.
"""

from cutmv.jobs.quotas.at_once import client, held_jobs
from cutmv.jobs.quotas.kept import require_row, require_rows
from cutmv.jobs.quotas.refusals import StorageFull, TooManyRows, TooManySteps
from cutmv.jobs.quotas.reservations import Reservation, require_held
from cutmv.jobs.quotas.stored import require_bytes, require_some_bytes
from cutmv.jobs.quotas.usage import Used, usage
from cutmv.jobs.quotas.waiting import alone_with, require_steps

__all__ = [
    "Reservation",
    "StorageFull",
    "TooManyRows",
    "TooManySteps",
    "Used",
    "alone_with",
    "client",
    "held_jobs",
    "require_bytes",
    "require_held",
    "require_row",
    "require_rows",
    "require_some_bytes",
    "require_steps",
    "usage",
]
