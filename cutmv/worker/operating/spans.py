"""A span of OpenTelemetry for each task, which goes on with the trace of its message."""

from contextlib import AbstractContextManager
from typing import Any

from celery.signals import task_postrun, task_prerun, worker_process_shutdown, worker_shutdown

from cutmv.tracing import flush, is_traced, span


def carrier_of(request: Any) -> dict[str, str]:
    """The context that a task's message carries; empty where it has none."""
    told = dict(request.headers or {})
    told |= {"traceparent": getattr(request, "traceparent", None) or told.get("traceparent")}
    return {key: str(value) for key, value in told.items() if value is not None}


@task_prerun.connect
def begin(task: Any, task_id: str, **_: Any) -> None:
    """Begin the span of a task."""
    if is_traced():
        request = task.request
        about = {"messaging.message.id": task_id, "cutmv.job_id": request.group}
        spanned = span(task.name, about, kind="CONSUMER", carrier=carrier_of(request))
        spanned.__enter__()
        request.cutmv_span = spanned


@task_postrun.connect
def end(task: Any, **_: Any) -> None:
    """End it."""
    spanned: AbstractContextManager[Any] | None = getattr(task.request, "cutmv_span", None)
    if spanned is not None:
        spanned.__exit__(None, None, None)


@worker_process_shutdown.connect
@worker_shutdown.connect
def send_last(**_: Any) -> None:
    """Send what has ended."""
    flush()
