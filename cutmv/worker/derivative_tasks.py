"""The Celery tasks that make derivatives of uploads, which are thin: `derivative` runs one."""

import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any, cast

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from cutmv.app import app
from cutmv.jobs import HELD_S, UnknownUpload
from cutmv.media import MediaError
from cutmv.services import services
from cutmv.storage import StorageError
from cutmv.worker.analysis import AnalysisRun
from cutmv.worker.derivative import DerivativeRun
from cutmv.worker.overview import OverviewRun
from cutmv.worker.patience import NEIGHBOURS, answered, missed, neighbour_away
from cutmv.worker.proxy import ProxyRun
from cutmv.worker.tasks import PASSING_ERRORS, WAIT_S, backoff_s, local_context

Body = Callable[..., None]
log = logging.getLogger(__name__)


def _task(name: str) -> Callable[[Body], "Task[Any, Any]"]:
    """Make the task of this name."""
    made: Any = app.task(
        name=name,
        bind=True,
        ignore_result=True,
        max_retries=None,
        throws=(MediaError, UnknownUpload),
    )
    return cast("Callable[[Body], Task[Any, Any]]", made)


@_task("cutmv.analyse")
def analyse_upload(
    self: "Task[Any, Any]", /, upload_id: str, failures: int = 0, **_later: object
) -> None:
    """Analyse an upload and keep what is found; as `_make`."""
    _make(self, AnalysisRun, upload_id, failures)


@_task("cutmv.overview")
def overview_upload(
    self: "Task[Any, Any]", /, upload_id: str, failures: int = 0, **_later: object
) -> None:
    """Make small pictures of an upload and the peaks of its sound; as `_make`."""
    _make(self, OverviewRun, upload_id, failures)


@_task("cutmv.proxy")
def proxy_upload(
    self: "Task[Any, Any]", /, upload_id: str, failures: int = 0, **_later: object
) -> None:
    """Make a small film of an upload that any browser plays; as `_make`."""
    _make(self, ProxyRun, upload_id, failures)


def _make(
    task: "Task[Any, Any]", kind: type[DerivativeRun[Any]], upload_id: str, failures: int
) -> None:
    """Make a derivative of an upload, once, however often its task is delivered.

    It has failed `failures` times before; to wait for a neighbour, or for room, is no failure. What
    a later version's message has beside them is left out.
    """
    local, run, name = local_context.get(), None, kind.kind.name
    try:
        stopping = local.stopping.is_set if local else lambda: False
        run = kind(local.services if local else services(), upload_id, stopping)
        run.run()
        for neighbour in NEIGHBOURS:
            answered(neighbour)
        return
    except (MediaError, UnknownUpload):
        raise
    except SoftTimeLimitExceeded:
        _give_up(run, f"The {name} took longer than its time limit and was stopped.")
        raise
    except Exception as met:
        error: Exception = met
        away = neighbour_away(met)
        if away:
            missed(away, error)
            due_s = random.uniform(0.5, 1.0) * WAIT_S
        else:
            failures += 1
            if not isinstance(error, PASSING_ERRORS):
                log.error("the %s of %s met an unexpected error", name, upload_id, exc_info=error)
            most = 1 + (local.services if local else services()).settings.max_retries
            if local or failures >= most:
                _give_up(run, _told(error, failures))
                raise
            log.warning("the %s of upload %s: %s; it is tried again", name, upload_id, error)
            due_s = max(random.uniform(0.5, 1.0) * WAIT_S, backoff_s(failures))
        if run:
            run.release(due_s + HELD_S)
    if local:  # Celery runs an eager retry at once, whatever its countdown
        local.retry_later(derivative_id(name, upload_id), due_s)
        return
    raise task.retry(
        args=(upload_id,), kwargs={"failures": failures}, countdown=due_s, exc=error
    ) from error


def derivative_id(name: str, upload_id: str) -> str:
    """By what a process knows a derivative that it makes."""
    return f"{name} of {upload_id}"


def _give_up(run: DerivativeRun[Any] | None, told: str) -> None:
    with contextlib.suppress(StorageError):  # it is begun again then
        if run:
            run.fail(told)


def _told(error: Exception, failures: int) -> str:
    """Why there is no derivative, for people."""
    known = isinstance(error, PASSING_ERRORS)
    told = str(error) if known else "an unexpected error; the log of the worker has the details"
    return f"Given up after {failures} {'tries' if failures > 1 else 'try'}: {told}"
