"""Make the overview of one upload, and have people see each part of it as soon as it is there."""

import io
from dataclasses import replace

from cutmv.jobs import OVERVIEW, PEAKS, derivative_key, sheet_name
from cutmv.media import MediaError, Overview, Sheet, empty_overview, overview
from cutmv.worker.derivative import DerivativeRun

#: Sheets, and bytes of one, and of the peaks, at most: far more than the engine makes.
MOST_SHEETS, SHEET_BYTES, PEAKS_BYTES = 256, 1_000_000, 1_000_000


class OverviewRun(DerivativeRun[Overview]):
    """One attempt at the overview of an upload; it takes what is seen as `OverviewTaker`."""

    kind = OVERVIEW

    def make(self) -> Overview:
        """Look at the video and listen to it; raises as `overview`."""
        self._seen = empty_overview(self.upload.info)
        overview(
            self.services.storage.source(self.upload.key),
            self.upload.info,
            self,
            on_progress=self.progressed,
            cancelled=self.cancelled,
            cache=self.services.cache,
        )
        return self._seen

    def sheet(self, sheet: Sheet, jpeg: bytes) -> None:
        """Store some small pictures, and tell of them."""
        sheets = self._seen.sheets
        if len(sheets) == MOST_SHEETS:
            raise MediaError("The video has too many small pictures.")
        self._store(sheet_name(len(sheets)), jpeg, "image/jpeg", SHEET_BYTES)
        self._tell(replace(self._seen, sheets=(*sheets, sheet)))

    def peaks(self, a_second: float, peaks: bytes, *, rough: bool) -> None:
        """Store the peaks of the sound, and tell of them."""
        self._store(PEAKS, peaks, "application/octet-stream", PEAKS_BYTES)
        self._tell(replace(self._seen, peaks=a_second, rough=rough))

    def keys(self, times: tuple[float, ...]) -> None:
        """Note when key pictures are shown."""
        self._seen = replace(self._seen, keys=times)

    def _store(self, name: str, data: bytes, content_type: str, max_bytes: int) -> None:
        self.services.storage.put_stream(
            derivative_key(self.upload, name),
            io.BytesIO(data),
            content_type=content_type,
            max_bytes=max_bytes,
        )

    def _tell(self, seen: Overview) -> None:
        self._seen = self.found = seen
        self.tell()
