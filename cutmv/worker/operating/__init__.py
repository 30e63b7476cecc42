"""What operators see of a worker: its `status`, and `tracebacks` of steps that failed.

`status` is imported by a worker alone, since it imports Celery's.
"""

from cutmv.worker.operating.tracebacks import traceback_of

#: The name of the command that asks a worker for its status.
STATUS = "cutmv_status"

__all__ = ["STATUS", "traceback_of"]
