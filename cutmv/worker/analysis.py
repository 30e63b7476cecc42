"""Analyse one upload: look at all of it, and listen to it."""

from cutmv.jobs import ANALYSIS
from cutmv.media import Analysis, analyse
from cutmv.worker.derivative import DerivativeRun


class AnalysisRun(DerivativeRun[Analysis]):
    """One attempt at the analysis of an upload."""

    kind = ANALYSIS

    def make(self) -> Analysis:
        """Analyse the video; raises as `analyse`."""
        return analyse(
            self.services.storage.source(self.upload.key),
            self.upload.info,
            on_progress=self.progressed,
            cancelled=self.cancelled,
            cache=self.services.cache,
        )
