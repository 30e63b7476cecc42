"""The Celery tasks. They are thin: `cutmv.jobs.run` does a step, `cutmv.media` a probe."""

import logging
import os
import threading
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.signals import task_failure, worker_init
from celery.utils.time import get_exponential_backoff_interval
from sqlalchemy.exc import OperationalError

from cutmv.app import app
from cutmv.jobs import UnknownJob, work
from cutmv.jobs.run import StepBusy, StepRun, Stopped
from cutmv.media import MediaError, MediaInfo, MediaUnavailable
from cutmv.media import probe as probe_media
from cutmv.progress import EventSender, Outbox, WebhookSender
from cutmv.services import Services, services
from cutmv.storage import NotFound, Storage, StorageError

#: What may pass: the network, the storage, the database. Anything else won't get better.
PASSING = (MediaUnavailable, StorageError, OperationalError, ConnectionError, TimeoutError)
#: Attempts at one step before a passing error is taken as lasting: with the backoff, a minute.
MAX_TRIES = 6
#: Seconds: the first backoff, which doubles each time and is jittered, and the longest one.
BACKOFF_S, MAX_BACKOFF_S = 2, 60
#: Seconds between the soft time limit, which the task can answer, and the hard one.
HARD_LIMIT_GRACE_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Direct:
    """What a task is given that runs in this process, without a broker.

    `publish` takes its progress, `again` runs a step once more after so many seconds, and
    `stopping` says that the process is about to end.
    """

    services: Services
    publish: Callable[[dict[str, Any]], None]
    again: Callable[[str, float], None]
    stopping: threading.Event


#: Set by whoever runs a task directly, in the context in which it calls `apply`.
direct: ContextVar[Direct | None] = ContextVar("direct", default=None)


def probe_object(storage: Storage, key: str) -> MediaInfo:
    """What is in the stored video `key`.

    Raises MediaError, MediaUnavailable, StorageError; NotFound at once where there is none.
    """
    storage.stat(key)
    return probe_media(storage.source(key))


@app.task(
    name="cutmv.probe",
    autoretry_for=PASSING,
    dont_autoretry_for=(NotFound,),
    max_retries=MAX_TRIES - 1,
    retry_backoff=BACKOFF_S,
    retry_backoff_max=MAX_BACKOFF_S,
    retry_jitter=True,
    throws=(MediaError, NotFound),
)
def probe(key: str) -> dict[str, Any]:
    """What is in the stored video `key`, as `MediaInfo.to_dict()` gives it."""
    return probe_object(services().storage, key).to_dict()


# Unlimited for Celery, because waiting for another runner is no failure; MAX_TRIES bounds ours.
@app.task(name="cutmv.cut", bind=True, max_retries=None, throws=(MediaError, UnknownJob))
def cut(self: "Task[Any, Any]", step_id: str) -> dict[str, Any]:
    """Make the output of one step, once, however often it is delivered; returns the step."""
    here = direct.get()
    run = StepRun(
        here.services if here else services(),
        step_id,
        owner=f"{self.request.hostname}/{os.getpid()}/{uuid.uuid4().hex}",
        route="eager" if here else services().settings.mode,
        emit=here.publish if here else emitter(self.request.hostname),
        stopping=here.stopping.is_set if here else lambda: False,
    )
    try:
        return run.run().to_json()
    except StepBusy as busy:
        if here:  # its owner ends it, or the janitor brings it again: nobody waits for us
            return {"id": step_id, "state": "running"}
        raise _again(self, step_id, busy.remaining_s + 1.0, busy) from busy
    except Stopped:
        return {"id": step_id, "state": "queued"}
    except SoftTimeLimitExceeded:
        run.fail("The cut took longer than its time limit and was stopped.")
        raise
    except PASSING as error:
        attempts = run.step.attempts if run.step else self.request.retries + 1
        if attempts >= MAX_TRIES:
            run.fail(f"Given up after {attempts} tries: {error}")
            raise
        run.release(expected=False)
        countdown = get_exponential_backoff_interval(
            BACKOFF_S, attempts - 1, MAX_BACKOFF_S, full_jitter=True
        )
        log.warning("step %s: %s; try %d of %d follows", step_id, error, attempts + 1, MAX_TRIES)
        if here:  # Celery runs an eager retry at once, whatever its countdown
            here.again(step_id, countdown)
            return {"id": step_id, "state": "queued"}
        raise _again(self, step_id, countdown, error) from error
    except MediaError:
        raise
    except Exception:
        run.fail("An unexpected error; the log of the worker has the details.")
        raise


def _again(task: "Task[Any, Any]", step_id: str, countdown_s: float, error: Exception) -> Exception:
    """Publish the task again. When that fails the janitor brings the step, so nothing is lost."""
    retry = task.retry(countdown=countdown_s, exc=error, throw=False)
    services().store.sent([step_id], services().settings.mode)
    return retry


@worker_init.connect
def clean_up(**_: Any) -> None:
    """Delete what workers of this machine that were killed have left in the data directory."""
    work.sweep(services().settings.data_dir)


@task_failure.connect(sender=cut)
def fail_at_hard_limit(sender: "Task[Any, Any]", task_id: str, exception: Any, **_: Any) -> None:
    """Fail the step of a task that Celery has killed, which could not do so itself.

    Called in the worker's main process. The owner is named by the worker that killed it, so that
    a step which another has taken over since is left alone.
    """
    if isinstance(exception, TimeLimitExceeded):
        error = "The cut took far longer than its time limit and was killed."
        services().store.fail_running(task_id, f"{sender.request.hostname}/", error)


def emitter(hostname: str | None) -> Callable[[dict[str, Any]], None]:
    """A function that sends a `task-progress` event, and never raises nor waits."""
    outboxes = _outboxes(hostname, os.getpid())

    def emit(event: dict[str, Any]) -> None:
        for outbox in outboxes:
            outbox.send(event)

    return emit


@lru_cache(maxsize=1)
def _outboxes(hostname: str | None, _pid: int) -> list[Outbox]:
    """Those of this process: what was made before a fork has no thread after it."""
    settings = services().settings
    outboxes: list[Outbox] = [EventSender(app, hostname)]
    if settings.webhook_url:
        outboxes.append(WebhookSender(settings.webhook_url, settings.webhook_secret))
    return outboxes
