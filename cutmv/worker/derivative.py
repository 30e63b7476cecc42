"""Make one derivative of an upload, once, and keep it beside the upload. Knows no Celery."""

import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from cutmv.jobs import (
    Derivative,
    Derivatives,
    DerivativeState,
    Found,
    Record,
    Records,
    UnknownUpload,
    Upload,
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


class DerivativeBusy(Exception):
    """Another process is at it, or was until it died; `remaining_s` seconds from now it is free."""

    def __init__(self, what: str, remaining_s: float) -> None:
        super().__init__(f"Another worker makes the {what}, for {remaining_s:.0f} s at least.")
        self.remaining_s = remaining_s


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
        self._percent, self._told = 0.0, 0.0
        self._wanted = True

    @abstractmethod
    def make(self) -> F:
        """Make it, by `progressed` and `cancelled`; raises MediaError, Cancelled and others."""

    def run(self) -> None:
        """Make the derivative, unless it is there or nobody wants it any more.

        Of an upload that is deleted meanwhile nothing stays. Raises DerivativeBusy; MediaError once
        the record says so; StorageError, MediaUnavailable.
        """
        record = self.records.of(self.upload)
        if record is None or record.state in (DerivativeState.DONE, DerivativeState.FAILED):
            return
        if record.state is DerivativeState.RUNNING and record.pending_s:
            raise DerivativeBusy(self.kind.name, record.pending_s)
        try:
            self._attempt()
        finally:
            self._sweep()

    def _attempt(self) -> None:
        self._keep(DerivativeState.RUNNING)
        try:
            require_stored(self.services.storage, self.upload)
            found = self.make()
        except Cancelled:
            if self._wanted:  # this process ends; whoever still wants it asks again
                self.records.forget(self.upload)
            log.info("the %s of upload %s was ended", self.kind.name, self.upload.id)
            return
        except MediaError as error:
            self.fail(str(error))
            raise
        self.found, self._percent = found, 100.0
        self._keep(DerivativeState.DONE)
        self._ended()

    def fail(self, error: str) -> None:
        """Say in one line why it is not there, or not all of it."""
        self._keep(DerivativeState.FAILED, error)
        self._ended()

    def release(self) -> None:
        """Let another process begin at once."""
        self._keep(DerivativeState.QUEUED)

    def progressed(self, percent: float) -> None:
        """Note how far it is; it is told with the next look."""
        self._percent = round(min(percent, 99.9), 1)

    def cancelled(self) -> bool:
        """Whether to stop: because nobody wants it any more, or this process ends."""
        if time.monotonic() - self._told >= TOLD_EVERY_S:
            with contextlib.suppress(StorageError):  # it is told the next time
                self.tell()
            self._told = time.monotonic()
        return not self._wanted or self._stopping()

    def tell(self) -> None:
        """Tell how far it is, and what is found, unless nobody wants it any more."""
        self._wanted = self.records.of(self.upload) is not None
        if self._wanted:
            self._keep(DerivativeState.RUNNING)

    def _ended(self) -> None:
        """Note that it is its person's next one's turn; else a janitor finds out."""
        with contextlib.suppress(StorageError, SQLAlchemyError):
            Derivatives(self.services.store, self.services.storage).ended(self.kind, self.upload)

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
