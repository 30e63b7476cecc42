"""The Celery task, which is thin: `cutmv.worker.step` runs a step."""

import contextlib
import logging
import os
import random
import threading
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery import Task
from celery.exceptions import Reject, SoftTimeLimitExceeded, TimeLimitExceeded
from celery.signals import task_failure, task_success, worker_init
from celery.states import FAILURE, SUCCESS

from cutmv.app import app
from cutmv.config import ConfigError
from cutmv.database import DATABASE_AWAY, OtherSchema
from cutmv.jobs import WAITS_TO_RETRY, UnknownJob
from cutmv.media import MediaError, MediaUnavailable, sandbox_told
from cutmv.progress import check_secret
from cutmv.services import Services, services
from cutmv.storage import StorageError
from cutmv.worker.heartbeat import Listener
from cutmv.worker.outboxes import process_outboxes
from cutmv.worker.patience import STAGES, missed, neighbour_away
from cutmv.worker.sending import CUT, send_or_leave
from cutmv.worker.step import StepBusy, StepRun, Stopped
from cutmv.worker.together import Together
from cutmv.worker.workspace import sweep_workspace

#: Failures whose message is for people; that of any other is for the log alone.
PASSING_ERRORS = (
    MediaUnavailable,
    StorageError,
    *DATABASE_AWAY,
    ConnectionError,
    TimeoutError,
)
#: Seconds: the base of the backoff, which doubles with each try and is jittered, and the longest.
BACKOFF_S, MAX_BACKOFF_S = 2, 60
#: Seconds, with jitter, until a step is tried again whose neighbour is still away.
WAIT_S = 5.0
#: Seconds after the end of another worker's lease before a busy step is tried again.
BUSY_MARGIN_S = 1.0

#: What is said of a step that Celery has stopped.
TOO_LONG = "The cut took longer than its time limit and was stopped."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalContext:
    """What a task is given that runs in the web process, without a broker.

    `listener` takes its progress events, `retry_later` runs a step, or a derivative of an upload,
    once more after so many seconds, and `stopping` says that the process is about to end.
    """

    services: Services
    listener: Listener
    retry_later: Callable[[str, float], None]
    stopping: threading.Event


#: Set by `cutmv.dispatch.local_runner` in the context in which it applies a task.
local_context: ContextVar[LocalContext | None] = ContextVar("local_context", default=None)


# The job store has the outcome of a step, and what Celery's result backend can't write must not
# decide what becomes of its message: so Celery writes nothing; `keep_success` and `keep_failure` do
# at the end. It counts no retries either, since waiting for a neighbour is no failure.
@app.task(
    name=CUT,
    bind=True,
    ignore_result=True,
    max_retries=None,
    throws=(MediaError, UnknownJob),
)
def cut(self: "Task[Any, Any]", /, *step_ids: str, **_later: object) -> dict[str, Any]:
    """Make the output of one step, once, however often it is delivered; returns the step.

    Of several steps, which are of one clip, what is encoded shares a decode; returns all. What a
    later version's message has beside them is left out.
    """
    local = local_context.get()
    if len(step_ids) > 1:
        return _cut_together(self, step_ids, local)
    [step_id], run = step_ids, None
    try:
        run = _prepared(self, step_id, local)
        return run.run().to_json()
    except StepBusy as busy:
        # Its owner may be dead, and we its message that came again: so we come once more after its
        # claim. An owner that has renewed it until then ends the step, or the janitor brings it.
        if local or self.request.retries:
            return {"id": step_id, "state": "running"}
        due_s = busy.remaining_s + BUSY_MARGIN_S
        return _publish_again(self, (step_id,), due_s, busy, needed=False)
    except Stopped:
        return {"id": step_id, "state": "queued"}
    except SoftTimeLimitExceeded as error:
        if run:
            run.fail(TOO_LONG, error)
        raise
    except (MediaError, UnknownJob):
        raise
    except Exception as error:
        due_s, released = _postponed(self, step_id, run, local, error)
        if local:  # Celery runs an eager retry at once, whatever its countdown
            local.retry_later(step_id, due_s)
            return {"id": step_id, "state": "queued"}
        return _publish_again(self, (step_id,), due_s, error, needed=not released)


def _cut_together(
    task: "Task[Any, Any]", step_ids: tuple[str, ...], local: LocalContext | None
) -> dict[str, Any]:
    """Run steps of one clip, each in its turn; those that are to run again come in one message."""
    ids = {_prepared(task, step_id, local): step_id for step_id in step_ids}
    found: list[dict[str, Any]] = []
    again: dict[str, _Again] = {}
    try:
        with Together(
            local.services if local else services(), list(ids), _stopping(local)
        ) as together:
            for run in together.turns():
                outcome = _in_turn(task, ids[run], run, local)
                if isinstance(outcome, _Again):
                    again[ids[run]] = outcome
                    continue
                found.append(outcome)
                if outcome["state"] == "failed":
                    _keep_result(task, ids[run], MediaError(outcome["error"]), FAILURE)
                elif outcome["state"] in ("done", "cancelled"):
                    _keep_result(task, ids[run], outcome, SUCCESS)
    except SoftTimeLimitExceeded as late:
        for run in ids:
            run.fail(TOO_LONG, late)
        raise
    if local:
        for step_id, each_again in again.items():
            local.retry_later(step_id, each_again.due_s)
    elif again:
        due_s = max(each.due_s for each in again.values())
        needed = any(each.needed for each in again.values())
        error = next(iter(again.values())).error
        _publish_again(task, tuple(again), due_s, error, needed=needed)
    return {"steps": found}


@dataclass(frozen=True)
class _Again:
    """A step that is to run again in `due_s` seconds; `needed` as in `_publish_again`."""

    due_s: float
    error: Exception
    needed: bool


def _in_turn(
    task: "Task[Any, Any]", step_id: str, run: StepRun, local: LocalContext | None
) -> dict[str, Any] | _Again:
    """Run one of several steps: what became of it, or when it is to run again."""
    try:
        return run.run().to_json()
    except StepBusy as busy:
        if local or task.request.retries:
            return {"id": step_id, "state": "running"}
        return _Again(busy.remaining_s + BUSY_MARGIN_S, busy, needed=False)
    except Stopped:
        return {"id": step_id, "state": "queued"}
    except SoftTimeLimitExceeded:
        raise
    except (MediaError, UnknownJob) as error:
        return {"id": step_id, "state": "failed", "error": str(error)}
    except Exception as error:
        try:
            due_s, released = _postponed(task, step_id, run, local, error)
        except Exception as last:  # it has failed for the last time
            return {"id": step_id, "state": "failed", "error": str(last)}
        return _Again(due_s, error, needed=not released)


def _stopping(local: LocalContext | None) -> Callable[[], bool]:
    return local.stopping.is_set if local else lambda: False


def _prepared(task: "Task[Any, Any]", step_id: str, local: LocalContext | None) -> StepRun:
    outboxes = () if local else process_outboxes(task.request.hostname)
    return StepRun(
        local.services if local else services(),
        step_id,
        owner=f"{task.request.hostname}/{os.getpid()}/{uuid.uuid4().hex}",
        route="eager" if local else services().settings.mode,
        listeners=[local.listener] if local else [outbox.send for outbox in outboxes],
        stopping=_stopping(local),
        send=None if local else lambda steps: send_or_leave(services(), steps),
    )


def _postponed(
    task: "Task[Any, Any]",
    step_id: str,
    run: StepRun | None,
    local: LocalContext | None,
    error: Exception,
) -> tuple[float, bool]:
    """Release a step that is to run once more: because a neighbour is away, or since it failed.

    Returns in how many seconds, and whether the job store knows. Raises `error` when it has failed
    for the last time.
    """
    away = neighbour_away(error)
    if away:
        missed(away, error)
        due_s = random.uniform(0.5, 1.0) * WAIT_S
        stage = STAGES.get(away)
    else:
        known = isinstance(error, PASSING_ERRORS)
        told = str(error) if known else "an unexpected error; the log of the worker has the details"
        if not known:
            log.error("step %s met an unexpected error", step_id, exc_info=error)
        tries = 1 + (run.step.failures if run and run.step else task.request.retries)
        most = 1 + (local.services if local else services()).settings.max_retries
        if tries >= most:
            if run:
                run.fail(f"Given up after {tries} tries: {told}", error)
            raise error
        log.warning("step %s: %s; try %d of %d follows", step_id, told, tries + 1, most)
        due_s = backoff_s(tries)
        stage = WAITS_TO_RETRY
    released = False
    with contextlib.suppress(*DATABASE_AWAY):  # the claim ends by itself then
        released = run is not None and run.release(
            failed=not away, stage=stage, due_s=None if local else due_s
        )
    return due_s, released


def _publish_again(
    task: "Task[Any, Any]",
    step_ids: tuple[str, ...],
    due_s: float,
    error: Exception,
    *,
    needed: bool,
) -> dict[str, Any]:
    """Raise Celery's Retry once a task for the steps is published again, due in `due_s` seconds.

    When the broker is away too the janitor brings the steps; where the job store says nothing of
    that (`needed`), the message at hand must stay: Reject is raised, which requeues it.
    """
    try:
        retry = task.retry(args=step_ids, countdown=due_s, exc=error, throw=False)
    except Reject:
        log.warning("step %s could not be sent again, since the broker is away too", step_ids[0])
        if needed:
            raise Reject(error, requeue=True) from error
        return {"id": step_ids[0], "state": "queued"}
    raise retry from error


def backoff_s(tries: int) -> float:
    """Seconds until the next try, after so many that failed: about 4, 8, 16 …, jittered."""
    return random.uniform(0.5, 1.0) * min(MAX_BACKOFF_S, BACKOFF_S * 2.0**tries)


@worker_init.connect
def tell_sandbox(**_: Any) -> None:
    """Log what holds those that read people's files."""
    log.info("files are read in a sandbox: %s", sandbox_told())


@worker_init.connect
def sweep_at_start(**_: Any) -> None:
    """Delete what killed workers of this machine have left in the data directory."""
    try:
        here = services()
        check_secret(here.settings)
    except (ConfigError, OtherSchema) as error:
        raise SystemExit(str(error)) from None  # Celery goes on after any other
    sweep_workspace(here.settings.data_dir)
    services().cache.trim()


@task_success.connect(sender=cut)
def keep_success(sender: "Task[Any, Any]", result: Any, **_: Any) -> None:
    """Tell Celery's result backend of a step that has ended; see `_keep_result`."""
    if "steps" not in result:  # of several steps the results are kept one by one
        _keep_result(sender, str(sender.request.id), result, SUCCESS)


@task_failure.connect(sender=cut)
def keep_failure(
    sender: "Task[Any, Any]", task_id: str, exception: Any, args: Any = (), **_: Any
) -> None:
    """Tell Celery's result backend of steps that have failed; see `_keep_result`.

    Of a job that was deleted nothing is kept.
    """
    if isinstance(exception, UnknownJob):
        return
    for step_id in args or (task_id,):
        _keep_result(sender, step_id, exception, FAILURE)


def _keep_result(task: "Task[Any, Any]", task_id: str, result: Any, state: str) -> None:
    """Keep a result for those who ask Celery; a backend that can't changes nothing."""
    if task.request.is_eager:
        return
    try:
        task.backend.store_result(task_id, result, state, request=task.request)
    except Exception as error:  # each backend raises errors of its own
        log.warning("step %s: Celery keeps no result: %s", task_id, type(error).__name__)


@task_failure.connect(sender=cut)
def fail_at_hard_limit(
    sender: "Task[Any, Any]", task_id: str, exception: Any, args: Any = (), **_: Any
) -> None:
    """Mark the steps of a task as failed that Celery has killed, which could not do so itself.

    Celery calls this in the worker's main process. A step is left alone when its owner is not of
    this worker: another has claimed it since.
    """
    if isinstance(exception, TimeLimitExceeded):
        error = "The cut took far longer than its time limit and was killed."
        for step_id in args or (task_id,):
            services().store.fail_running(step_id, f"{sender.request.hostname}/", error)
