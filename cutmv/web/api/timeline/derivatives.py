"""Have what is made of an upload made, unless it is or was."""

import logging
from typing import TypeVar

from cutmv.jobs import Derivative, DerivativeState, Found, Record, Records, Upload
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


def is_lost(record: Record[F]) -> bool:
    """Whether nobody makes a derivative that is neither there nor has failed."""
    ended = record.state in (DerivativeState.DONE, DerivativeState.FAILED)
    return not ended and not record.pending_s
