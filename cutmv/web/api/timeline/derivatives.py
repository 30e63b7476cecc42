"""Have what is made of an upload made, unless it is or was."""

import logging
import time
from typing import Any, TypeVar

from cutmv.jobs import Derivative, DerivativeState, Found, Record, Upload
from cutmv.web.api.problems import Problem
from cutmv.web.clients import client_key
from cutmv.web.state import web

F = TypeVar("F", bound=Found)
#: What is said of a derivative whose worker died.
LOST = "It was lost with its worker: POST here to repeat it."

log = logging.getLogger(__name__)


def wanted_of(kind: Derivative[F], upload: Upload) -> Record[F]:
    """The record of a derivative of an upload, which is to be made now if it is not.

    Raises NoSpace, StorageError, and as `Dispatcher.derive`.
    """
    dispatcher = web().dispatcher
    record = dispatcher.derivatives.record(kind, upload)
    if record is not None and (record.pending_s or record.state is DerivativeState.DONE):
        return record
    web().services.room.require()
    dispatcher.derive(kind, upload, client_key())
    log.info("the %s of upload %s is to be made", kind.name, upload.id)
    return Record(DerivativeState.QUEUED, at=time.time())


def kept_of(kind: Derivative[F], upload: Upload) -> Record[F]:
    """The record of a derivative that was asked for. Raises Problem 404, StorageError."""
    record = web().dispatcher.derivatives.record(kind, upload)
    if record is None:
        raise Problem(404, f"There is no {kind.name} of the video: POST here to have it made.")
    return record


def told_of(record: Record[F]) -> dict[str, Any]:
    """How far a derivative is, as the API shows it; nobody makes one that was lost."""
    ended = record.state in (DerivativeState.DONE, DerivativeState.FAILED)
    lost = not ended and not record.pending_s
    return {
        "state": DerivativeState.FAILED if lost else record.state,
        "percent": record.percent,
        "error": LOST if lost else record.error,
    }
