"""Have what is made of an upload made, unless it is or was."""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, current_app

from cutmv.jobs import Derivative, DerivativeState, Found, Record, Records, Upload
from cutmv.web.api.problems import Problem
from cutmv.web.clients import client_key
from cutmv.web.state import web

F = TypeVar("F", bound=Found)
#: What is said of a derivative whose worker died.
LOST = "It was lost with its worker: POST here to repeat it."
#: The name under which Flask keeps what clients wait for, and seconds after which one that has
#: enough may ask again.
EXTENSION, RETRY_AFTER_S = "cutmv-derivatives", 10

log = logging.getLogger(__name__)


#: A derivative of an upload, and whether it is still to be made.
Pending = Callable[[], bool]


class Asked:
    """What each client has asked for and may be being made. Threads share it.

    Brokers hand out what came first first, so one client's derivatives keep others' steps waiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, dict[str, Pending]] = {}

    def add(self, client: str, what: str, pending: Pending, most: int) -> bool:
        """Note one more, unless the client waits for `most` of them; tell whether it does not."""
        with self._lock:
            known = dict(self._of.get(client, {}))
        # Whether they are, the storage tells, which may take its time.
        full = len(known) >= most
        over = [each for each, is_pending in known.items() if full and not is_pending()]
        with self._lock:
            of_client = self._of.setdefault(client, {})
            for each in over:
                of_client.pop(each, None)
            if len(of_client) >= most and what not in of_client:
                return False
            of_client[what] = pending
            return True


def register(app: Flask) -> None:
    """Bound what each client of `app` may have made at once."""
    app.extensions[EXTENSION] = Asked()


def wanted_of(kind: Derivative[F], upload: Upload, turns_of: str) -> Record[F]:
    """The record of a derivative of an upload, which is to be made now if it is not.

    Where it is made in this process it waits for the turns of `turns_of`. Raises NoSpace,
    StorageError, and Problem 429 where the client waits for as many as a person's steps that a
    broker may have.
    """
    services = web().services
    records = Records(services.storage, kind)
    record = records.of(upload)
    if record is not None and (record.pending_s or record.state is DerivativeState.DONE):
        return record
    services.room.require()

    def is_pending() -> bool:
        now = records.of(upload)
        return now is not None and now.pending_s > 0

    most = services.settings.limits.steps_ahead
    asked = cast(Asked, current_app.extensions[EXTENSION])
    if not asked.add(client_key(), f"{kind.name} {upload.id}", is_pending, most):
        told = f"{most} overviews, proxies and suggestions of yours are being made, the limit."
        raise Problem(429, told, retry_after_s=RETRY_AFTER_S)
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
