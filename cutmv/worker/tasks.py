"""The Celery tasks. They are thin: `cutmv.worker.step` runs a step, `cutmv.media` probes."""

import logging
import os
import threading
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.signals import task_failure, worker_init
from celery.utils.time import get_exponential_backoff_interval
from sqlalchemy.exc import OperationalError

from cutmv.app import app
from cutmv.jobs import UnknownJob, probe_stored
from cutmv.media import MediaError, MediaUnavailable
from cutmv.services import Services, services
from cutmv.storage import ObjectNotFound, StorageError
from cutmv.worker.heartbeat import Listener
from cutmv.worker.outboxes import process_outboxes
from cutmv.worker.step import StepBusy, StepRun, Stopped
from cutmv.worker.workspace import sweep_workspace

#: Failures of the network, the storage or the database, which may pass. No other is retried.
PASSING_ERRORS = (
    MediaUnavailable,
    StorageError,
    OperationalError,
    ConnectionError,
    TimeoutError,
)
#: Attempts at one step before a passing failure is taken as lasting: with the backoff, a minute.
MAX_TRIES = 6
#: Seconds: the first backoff, which doubles each time and is jittered, and the longest one.
BACKOFF_S, MAX_BACKOFF_S = 2, 60
#: Seconds between the soft time limit, which the task can answer, and the hard one.
HARD_LIMIT_GRACE_S = 30.0
#: Seconds after the end of another worker's lease before a busy step is tried again.
BUSY_MARGIN_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalContext:
    """What a task is given that runs in the web process, without a broker.

    `listener` takes its progress events, `retry_later` runs a step once more after so many seconds,
    and `stopping` says that the process is about to end.
    """

    services: Services
    listener: Listener
    retry_later: Callable[[str, float], None]
    stopping: threading.Event


#: Set by `cutmv.dispatch.local_runner` in the context in which it applies a task.
local_context: ContextVar[LocalContext | None] = ContextVar("local_context", default=None)


@app.task(
    name="cutmv.probe",
    autoretry_for=PASSING_ERRORS,
    dont_autoretry_for=(ObjectNotFound,),
    max_retries=MAX_TRIES - 1,
    retry_backoff=BACKOFF_S,
    retry_backoff_max=MAX_BACKOFF_S,
    retry_jitter=True,
    throws=(MediaError, ObjectNotFound),
)
def probe(key: str) -> dict[str, Any]:
    """What is in the stored video `key`, as `MediaInfo.to_dict()` gives it."""
    return probe_stored(services().storage, key).to_dict()


# Unlimited for Celery, since waiting for another worker is no failure; MAX_TRIES bounds failures.
@app.task(name="cutmv.cut", bind=True, max_retries=None, throws=(MediaError, UnknownJob))
def cut(self: "Task[Any, Any]", step_id: str) -> dict[str, Any]:
    """Make the output of one step, once, however often it is delivered; returns the step."""
    local = local_context.get()
    outboxes = () if local else process_outboxes(self.request.hostname)
    run = StepRun(
        local.services if local else services(),
        step_id,
        owner=f"{self.request.hostname}/{os.getpid()}/{uuid.uuid4().hex}",
        route="eager" if local else services().settings.mode,
        listeners=[local.listener] if local else [outbox.send for outbox in outboxes],
        stopping=local.stopping.is_set if local else lambda: False,
    )
    try:
        return run.run().to_json()
    except StepBusy as busy:
        if local:  # its owner ends it, or the janitor brings it again: nobody waits for us
            return {"id": step_id, "state": "running"}
        raise _retry(self, step_id, busy.remaining_s + BUSY_MARGIN_S, busy) from busy
    except Stopped:
        return {"id": step_id, "state": "queued"}
    except SoftTimeLimitExceeded:
        run.fail("The cut took longer than its time limit and was stopped.")
        raise
    except PASSING_ERRORS as error:
        attempts = run.step.attempts if run.step else self.request.retries + 1
        if attempts >= MAX_TRIES:
            run.fail(f"Given up after {attempts} tries: {error}")
            raise
        run.release(expected=False)
        countdown_s = get_exponential_backoff_interval(
            BACKOFF_S, attempts - 1, MAX_BACKOFF_S, full_jitter=True
        )
        log.warning("step %s: %s; try %d of %d follows", step_id, error, attempts + 1, MAX_TRIES)
        if local:  # Celery runs an eager retry at once, whatever its countdown
            local.retry_later(step_id, countdown_s)
            return {"id": step_id, "state": "queued"}
        raise _retry(self, step_id, countdown_s, error) from error
    except MediaError:
        raise
    except Exception:
        run.fail("An unexpected error; the log of the worker has the details.")
        raise


def _retry(task: "Task[Any, Any]", step_id: str, countdown_s: float, error: Exception) -> Exception:
    """Publish the task again. When that fails the janitor brings the step, so nothing is lost."""
    retry = task.retry(countdown=countdown_s, exc=error, throw=False)
    services().store.sent([step_id], services().settings.mode)
    return retry


@worker_init.connect
def sweep_at_start(**_: Any) -> None:
    """Delete what killed workers of this machine have left in the data directory."""
    sweep_workspace(services().settings.data_dir)


@task_failure.connect(sender=cut)
def fail_at_hard_limit(sender: "Task[Any, Any]", task_id: str, exception: Any, **_: Any) -> None:
    """Mark the step of a task as failed that Celery has killed, which could not do so itself.

    Celery calls this in the worker's main process. The step is left alone when its owner is not of
    this worker: another has claimed it since.
    """
    if isinstance(exception, TimeLimitExceeded):
        error = "The cut took far longer than its time limit and was killed."
        services().store.fail_running(task_id, f"{sender.request.hostname}/", error)
