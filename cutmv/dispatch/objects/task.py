"""The task for which R2's messages about objects stand; it is thin: `alignment` does the work."""

import json
import logging
import random
from typing import Any

from celery import Task
from celery.exceptions import Reject

from cutmv.app import app
from cutmv.config import OBJECT_TASK, Settings
from cutmv.dispatch.objects.alignment import Mendable, Objects
from cutmv.dispatch.objects.wishes import ANALYSIS_LOOK_S, NotAnalysed, is_list
from cutmv.jobs import TooManyDerivatives, TooManySteps, UnknownUpload
from cutmv.services import services
from cutmv.worker import (
    NEIGHBOURS,
    PASSING_ERRORS,
    WAIT_S,
    answered,
    backoff_s,
    missed,
    neighbour_away,
)

#: Seconds until the owner of an object may have room for its job, whose others wait or run.
TURN_S = 60.0

log = logging.getLogger(__name__)


class NoEvent(ValueError):
    """A message does not tell of an object; one line."""


@app.task(name=OBJECT_TASK, bind=True, ignore_result=True, max_retries=None)
def take_object(
    self: "Task[Any, Any]",
    /,
    event: Any,
    failures: int = 0,
    **_later: object,
) -> None:
    """Have the upload of an object that R2 tells of, and its job, made; or deleted with it.

    It has failed `failures` times before; to wait for a neighbour, or for a turn, is no failure.
    What a person has to mend becomes a dead letter.
    """
    try:
        key = key_of(services().settings, event)
        if key is not None:
            objects = Objects(services())
            upload = objects.align(key)
            if upload is not None:
                objects.have_job_made(upload)
        for neighbour in NEIGHBOURS:
            answered(neighbour)
        return
    except (NoEvent, Mendable) as refused:
        log.error(
            "%s is a dead letter, to be replayed once that is mended: %s", _shown(event), refused
        )
        raise Reject(refused, requeue=False) from refused
    except NotAnalysed as waits:
        error: Exception = waits
        due_s = random.uniform(0.7, 1.3) * ANALYSIS_LOOK_S
    except (TooManySteps, TooManyDerivatives) as waits:
        error, due_s = waits, random.uniform(0.7, 1.3) * TURN_S
    except Exception as met:
        error, away = met, neighbour_away(met)
        if away:
            missed(away, met)
            due_s = random.uniform(0.5, 1.0) * WAIT_S
        else:
            failures += 1
            due_s = backoff_s(failures)
            if not isinstance(met, (*PASSING_ERRORS, UnknownUpload)):
                log.error("%s met an unexpected error", _shown(event), exc_info=met)
            if failures > services().settings.max_retries:
                log.error("%s is a dead letter: %s", _shown(event), met)
                raise Reject(met, requeue=False) from met
            log.warning("%s: %s; it is tried again", _shown(event), met)
    try:
        told = {"failures": failures}
        again = self.retry(args=(event,), kwargs=told, countdown=due_s, exc=error, throw=False)
    except Reject:  # the broker is away too: the message at hand stays
        raise Reject(error, requeue=True) from error
    raise again from error


def key_of(settings: Settings, event: Any) -> str | None:
    """The key of the object of ours that R2 tells of; None for one that is nothing to us.

    Raises NoEvent.
    """
    try:
        told = json.loads(event) if isinstance(event, str | bytes) else event
        bucket, key = told["bucket"], told["object"]["key"]
        if not (isinstance(bucket, str) and isinstance(key, str) and key):
            raise TypeError
        key.encode()
    except (ValueError, TypeError, KeyError):
        raise NoEvent("it is no event of R2's") from None
    prefix = settings.incoming.prefix
    is_wanted = bucket == settings.r2_bucket and bool(prefix) and key.startswith(prefix)
    if not is_wanted or key.endswith("/") or is_list(key):
        log.debug("object %s of bucket %s is nothing to us", key, bucket)
        return None
    if any(ord(character) < ord(" ") for character in key):
        log.warning("object %r is no upload: its name has control characters", key)
        return None
    return key


def _shown(event: Any) -> str:
    """What a message tells of, for the log."""
    told = event.get("object") if isinstance(event, dict) else None
    key = told.get("key") if isinstance(told, dict) else None
    return f"object {key}" if isinstance(key, str) else "a message about an object"
