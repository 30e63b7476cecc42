"""Have what is made of an upload made, unless it is or was."""

import logging
from typing import Any, TypeVar

from cutmv.jobs import Derivative, DerivativeState, Found, Record, Records, Upload
from cutmv.web.api.problems import Problem
from cutmv.web.state import web

F = TypeVar("F", bound=Found)
#: What is said of a derivative whose worker died.
LOST = "It was lost with its worker: POST here to repeat it."

log = logging.getLogger(__name__)


def wanted_of(kind: Derivative[F], upload: Upload, turns_of: str) -> Record[F]:
    """The record of a derivative of an upload, which is to be made now if it is not.

    Where it is made in this process it waits for the turns of the client `turns_of`. Raises
    NoSpace, StorageError.
    """
    services = web().services
    records = Records(services.storage, kind)
    record = records.of(upload)
    if record is not None and (record.pending_s or record.state is DerivativeState.DONE):
        return record
    services.room.require()
    record = records.keep(upload, Record(DerivativeState.QUEUED))
    web().dispatcher.derive(kind, upload, turns_of)
    log.info("the %s of upload %s is to be made", kind.name, upload.id)
    return record


def kept_of(kind: Derivative[F], upload: Upload) -> Record[F]:
    """The record of a derivative that was asked for. Raises Problem 404, StorageError."""
    record = Records(web().services.storage, kind).of(upload)
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
