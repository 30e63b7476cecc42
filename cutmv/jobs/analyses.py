"""The analysis of an upload, kept in the storage beside it, and how far it is until it is there.

It is a cache: whoever asks for an analysis that is gone, or another version's, has it made again.
"""

import io
import json
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cutmv.jobs.keys import analysis_key
from cutmv.jobs.model import Upload
from cutmv.jobs.rows import WRONG
from cutmv.media import Analysis
from cutmv.storage import ObjectNotFound, Storage

#: Seconds after which an analysis that nobody has begun, or that nobody tells of, is given up.
BEGUN_WITHIN_S, TOLD_WITHIN_S = 900.0, 60.0
#: Bytes of what is kept at most; three hours of beats are a tenth of it.
MAX_BYTES = 20_000_000


class AnalysisState(StrEnum):
    """What an analysis is at."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class AnalysisRecord:
    """How far an analysis is, in percent, or what it found, or why it failed, in one line."""

    state: AnalysisState
    percent: float = 0.0
    error: str | None = None
    analysis: Analysis | None = None
    #: When this was written, in seconds since 1970.
    at: float = 0.0

    @property
    def pending_s(self) -> float:
        """Seconds for which somebody may still be at it; none when nobody is."""
        within = {AnalysisState.QUEUED: BEGUN_WITHIN_S, AnalysisState.RUNNING: TOLD_WITHIN_S}
        return max(0.0, within.get(self.state, 0.0) - max(0.0, time.time() - self.at))

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it."""
        found = self.analysis.to_json() if self.analysis else None
        plain = {"state": self.state, "percent": self.percent, "error": self.error, "at": self.at}
        return plain | {"analysis": found}


def _read(plain: Any) -> AnalysisRecord | None:
    found = Analysis.from_json(plain["analysis"]) if plain["analysis"] else None
    state = AnalysisState(plain["state"])
    if state is AnalysisState.DONE and found is None:
        return None
    return AnalysisRecord(state, float(plain["percent"]), plain["error"], found, float(plain["at"]))


class Analyses:
    """The records of a storage. Every method raises StorageError when that fails."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def of(self, upload: Upload) -> AnalysisRecord | None:
        """What is known of the analysis of an upload; none if nobody asked for it."""
        try:
            with self._storage.open_range(analysis_key(upload.key)) as chunks:
                text = b"".join(chunks)
        except ObjectNotFound:
            return None
        try:
            return _read(json.loads(text))
        except WRONG:  # it is made again
            return None

    def keep(self, upload: Upload, record: AnalysisRecord) -> AnalysisRecord:
        """Write a record, with the time; returns it."""
        kept = AnalysisRecord(
            record.state, record.percent, record.error, record.analysis, time.time()
        )
        self._storage.put_stream(
            analysis_key(upload.key),
            io.BytesIO(json.dumps(kept.to_json()).encode()),
            content_type="application/json",
            max_bytes=MAX_BYTES,
        )
        return kept

    def forget(self, upload: Upload) -> None:
        """Delete a record: whoever makes the analysis stops."""
        self._storage.delete(analysis_key(upload.key))
