"""Make one derivative of an upload, once, and keep it beside the upload. Knows no Celery."""

import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from cutmv.database import DATABASE_AWAY
from cutmv.jobs import (
    Derivative,
    DerivativeClaim,
    DerivativeState,
    Found,
    Record,
    Records,
    UnknownUpload,
    Upload,
    measure,
    require_stored,
    upload_prefix,
)
from cutmv.media import Cancelled, MediaError
from cutmv.services import Services
from cutmv.storage import StorageError

#: Seconds between two looks at whether it is still wanted, with which the progress is told.
TOLD_EVERY_S = 2.0

F = TypeVar("F", bound=Found)
log = logging.getLogger(__name__)


class DerivativeRun(ABC, Generic[F]):
    """One attempt at a derivative of an upload; `stopping` says that this process wants to end."""

    #: What is made; each subclass has its own.
    kind: ClassVar[Derivative]  # type: ignore[type-arg]  # a class variable has no parameter

    def __init__(
        self, services: Services, upload_id: str, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self.services, self._stopping = services, stopping
        self.records: Records[F] = Records(services.storage, self.kind)
        self.upload: Upload = services.store.upload(upload_id)
        #: What is found so far, where others may have it already.
        self.found: F | None = None
        self._claim: DerivativeClaim | None = None
        self._percent, self._told = 0.0, 0.0
        self._wanted, self._made = True, False

    @abstractmethod
    def make(self) -> F:
        """Make it, by `progressed` and `cancelled`; raises MediaError, Cancelled and others."""

    def run(self) -> None:
        """Make the derivative, unless it is there, another is at it, or nobody wants it any more.

        Of an upload that is deleted meanwhile nothing stays. Raises MediaError once the record says
        so; StorageError, MediaUnavailable, SQLAlchemyError.
        """
        store, storage = self.services.store, self.services.storage
        self._claim = DerivativeClaim.take(store, storage, self.kind, self.upload)
        if self._claim is None:
            return
        try:
            self._attempt(self._claim)
        finally:
            self._sweep()

    def _attempt(self, claim: DerivativeClaim) -> None:
        self._keep(DerivativeState.RUNNING)
        try:
            require_stored(self.services.storage, self.upload)
            found = self.make()
        except Cancelled:
            log.info("the %s of upload %s was ended", self.kind.name, self.upload.id)
            if self._wanted:  # this process ends, and another goes on
                self.release(0.0)
            elif claim.drop():
                self.records.forget(self.upload)
            return
        except MediaError as error:
            self.fail(str(error))
            raise
        self.found, self._percent = found, 100.0
        self._keep(DerivativeState.DONE)
        self._made = True
        self._ended()

    def fail(self, error: str) -> None:
        """Say in one line why it is not there, or not all of it."""
        if not self._made:
            self._keep(DerivativeState.FAILED, error)
            self._ended()

    def release(self, wait_s: float) -> None:
        """Leave it to the message that follows, or to who finds it left in so many seconds.

        While the database is away its claim runs out instead.
        """
        if self._claim and not self._made:
            with contextlib.suppress(StorageError, *DATABASE_AWAY):
                self._keep(DerivativeState.QUEUED)
            with contextlib.suppress(*DATABASE_AWAY):
                self._claim.release(wait_s)

    def progressed(self, percent: float) -> None:
        """Note how far it is; it is told with the next look."""
        self._percent = round(min(percent, 99.9), 1)

    def cancelled(self) -> bool:
        """Whether to stop: because nobody wants it any more, or this process ends."""
        if time.monotonic() - self._told >= TOLD_EVERY_S:
            self.tell()
        return not self._wanted or self._stopping()

    def tell(self) -> None:
        """Tell how far it is, and what is found, unless nobody wants it any more.

        While the database or the storage is away that is left to the next time.
        """
        self._told = time.monotonic()
        with contextlib.suppress(StorageError, *DATABASE_AWAY):
            self._wanted = self._claim is not None and self._claim.renew()
            if self._wanted:
                self._keep(DerivativeState.RUNNING)

    def _ended(self) -> None:
        """Tell that it is the next one's turn; else that is found out when the claim runs out."""
        services = self.services
        with contextlib.suppress(StorageError, *DATABASE_AWAY):
            if self._claim:
                self._claim.end()
                measure(services.store, services.storage, self.kind, self.upload)

    def _sweep(self) -> None:
        """Delete what we stored of an upload after it was deleted; else the janitor does, later."""
        upload = self.upload
        with contextlib.suppress(StorageError, SQLAlchemyError):
            try:
                self.services.store.upload(upload.id)
            except UnknownUpload:
                self.services.storage.delete_prefix(upload_prefix(upload.id, upload.key))

    def _keep(self, state: DerivativeState, error: str | None = None) -> None:
        self.records.keep(self.upload, Record(state, self._percent, error, self.found))
        self._told = time.monotonic()
