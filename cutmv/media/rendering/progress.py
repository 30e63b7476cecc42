"""How far a cut is: what the engine tells, as a percent that never goes back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a cut is. None stands for what is not known yet.

    `percent` is that of the frames, `fps` frames made in a second, `speed` seconds of video made
    in a second, `eta_s` seconds left, `out_time_s` seconds of video made.
    """

    percent: float = 0.0
    fps: float | None = None
    speed: float | None = None
    eta_s: float | None = None
    out_time_s: float | None = None
    frame: int = 0


class ProgressReader:
    """Reads what the engine tells of its progress and reports it; percent never goes back."""

    def __init__(self, length_s: float, on_progress: Callable[[Progress], None]) -> None:
        self._length_s = length_s
        self._on_progress = on_progress
        self._latest = 0.0

    def take(self, told: dict[str, Any]) -> None:
        """Take the engine's word: pictures made, of how many, and the seconds since its start."""
        pictures, whole, seconds = told["pictures"], max(1, told["of"]), max(0.001, told["seconds"])
        part = min(1.0, pictures / whole)
        self._latest = max(self._latest, 100.0 * part)
        made_s = part * self._length_s
        self._on_progress(
            Progress(
                percent=self._latest,
                fps=round(pictures / seconds, 1),
                speed=round(made_s / seconds, 3),
                eta_s=round(seconds * (1 - part) / part, 1) if part else None,
                out_time_s=round(made_s, 3),
                frame=pictures,
            )
        )

    def finish(self, frames: int) -> None:
        """Report the end: all frames are made and checked."""
        length_s = round(self._length_s, 3)
        self._on_progress(Progress(100.0, None, None, 0.0, length_s, frames))
