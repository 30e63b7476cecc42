"""What operators see of a worker: its `status`, and `tracebacks` of steps that failed.

`spans` trace its tasks, once they are imported. `status` is imported by a worker alone, since it
imports Celery's.
"""

from cutmv.worker.operating import spans
from cutmv.worker.operating.tracebacks import traceback_of

#: The names of the commands that ask a worker for its status, and have it take from queues or not.
STATUS, CONSUME = "cutmv_status", "cutmv_consume"

__all__ = ["CONSUME", "STATUS", "spans", "traceback_of"]
