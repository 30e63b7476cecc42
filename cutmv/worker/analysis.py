"""Analyse one upload, once, and keep what is found beside it. Knows no Celery."""

import contextlib
import logging
import time
from collections.abc import Callable

from cutmv.jobs import Analyses, AnalysisRecord, AnalysisState, Upload, require_stored
from cutmv.media import Cancelled, MediaError, analyse
from cutmv.services import Services
from cutmv.storage import StorageError

#: Seconds between two looks at whether it is still wanted, with which the progress is told.
TOLD_EVERY_S = 2.0

log = logging.getLogger(__name__)


class AnalysisBusy(Exception):
    """Another process is at it, or was until it died; `remaining_s` seconds from now it is free."""

    def __init__(self, remaining_s: float) -> None:
        super().__init__(f"Another worker analyses the video, for {remaining_s:.0f} s at least.")
        self.remaining_s = remaining_s


class AnalysisRun:
    """One attempt at the analysis of an upload; `stopping` says that this process wants to end."""

    def __init__(
        self, services: Services, upload_id: str, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._services, self._stopping = services, stopping
        self._analyses = Analyses(services.storage)
        self._upload: Upload = services.store.upload(upload_id)
        self._percent, self._told = 0.0, 0.0
        self._wanted = True

    def run(self) -> None:
        """Make the analysis, unless it is there or nobody wants it any more.

        Raises AnalysisBusy; MediaError once the record says so; StorageError, MediaUnavailable.
        """
        record = self._analyses.of(self._upload)
        if record is None or record.state in (AnalysisState.DONE, AnalysisState.FAILED):
            return
        if record.state is AnalysisState.RUNNING and record.pending_s:
            raise AnalysisBusy(record.pending_s)
        self._keep(AnalysisRecord(AnalysisState.RUNNING))
        source = self._services.storage.source(self._upload.key)
        try:
            require_stored(self._services.storage, self._upload)
            found = analyse(
                source,
                self._upload.info,
                on_progress=self._progressed,
                cancelled=self._cancelled,
                cache=self._services.cache,
            )
        except Cancelled:
            if self._wanted:  # this process ends; whoever still wants it asks again
                self._analyses.forget(self._upload)
            log.info("the analysis of upload %s was ended", self._upload.id)
            return
        except MediaError as error:
            self.fail(str(error))
            raise
        self._keep(AnalysisRecord(AnalysisState.DONE, 100.0, analysis=found))

    def fail(self, error: str) -> None:
        """Say in one line why there is no analysis."""
        self._keep(AnalysisRecord(AnalysisState.FAILED, self._percent, error))

    def release(self) -> None:
        """Let another process begin at once."""
        self._keep(AnalysisRecord(AnalysisState.QUEUED))

    def _keep(self, record: AnalysisRecord) -> None:
        self._analyses.keep(self._upload, record)
        self._told = time.monotonic()

    def _progressed(self, percent: float) -> None:
        self._percent = round(min(percent, 99.9), 1)

    def _cancelled(self) -> bool:
        if time.monotonic() - self._told >= TOLD_EVERY_S:
            self._told = time.monotonic()
            with contextlib.suppress(StorageError):  # it is told the next time
                self._wanted = self._analyses.of(self._upload) is not None
                if self._wanted:
                    self._keep(AnalysisRecord(AnalysisState.RUNNING, self._percent))
        return not self._wanted or self._stopping()
