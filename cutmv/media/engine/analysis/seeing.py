"""Looks at pictures one after the other: scene changes, black, and how much moves."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from scenedetect.common import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from cutmv.media.engine.analysis.spans import Spans
from cutmv.media.engine.source.file import SourceError

#: Pixels of the longer side of the small pictures that are looked at.
SIDE = 128
#: Seconds of the shortest scene.
SHORTEST_SCENE_S = 0.25
#: The light of a pixel that counts as black at most (of 255), and how many such pixels make a black
#: picture: those of FFmpeg's `blackdetect`.
BLACK_LIGHT, BLACK_PART = 0.10 * 255, 0.98
#: Seconds of the shortest black that is told of.
SHORTEST_BLACK_S = 0.1
#: Black spans that are told of at most.
MOST_BLACK = 20_000
#: Seconds within which a picture that begins is near.
NEAR_S = 0.1
#: Seconds for which one figure of movement stands.
STRIDE_S = 0.5


class Seeing:
    """Takes pictures in the order in which they are shown."""

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._reformatter = VideoReformatter()
        shortest = max(1, round(SHORTEST_SCENE_S * rate))
        self._detector = AdaptiveDetector(min_scene_len=shortest)
        self._scenes: list[int] = []
        self._black = Spans(SHORTEST_BLACK_S)
        self._moving: list[list[float]] = []
        self._last: np.ndarray[Any, Any] | None = None
        #: The longest time for which one is shown, in seconds.
        self.longest_s = 0.0
        #: When each picture is shown, in seconds from the file's start.
        self.shown = array("d")

    def take(self, frame: VideoFrame, at: float) -> None:
        """Look at a picture that is shown from `at` seconds on."""
        if self.shown and at <= self.shown[-1]:
            return  # a time that jumps back: what comes after it is shown over what was
        small = self._small(frame)
        if self.shown:
            self.longest_s = max(self.longest_s, at - self.shown[-1])
        place = FrameTimecode(len(self.shown), fps=self._rate)
        self._scenes += [each.frame_num for each in self._detector.process_frame(place, small)]
        self._black.note(at, bool((small.max(axis=2) <= BLACK_LIGHT).mean() >= BLACK_PART))
        grey = small.mean(axis=2)
        if self._last is not None and self._last.shape == grey.shape:
            stride = int(at / STRIDE_S)
            while len(self._moving) <= stride:
                self._moving.append([])
            self._moving[stride].append(float(np.abs(grey - self._last).mean()))
        self._last = grey
        self.shown.append(at)

    def finish(self, end_s: float) -> dict[str, Any]:
        """Return what was seen; the last picture is shown until `end_s`."""
        scenes = {self.shown[place] for place in self._scenes if 0 < place < len(self.shown)}
        return {
            "first": self.shown[0] if self.shown else None,
            "end": round(end_s, 6),
            "scenes": sorted(round(each, 6) for each in scenes),
            "movement": [round(sum(each) / len(each), 1) if each else 0.0 for each in self._moving],
        }

    def black(self, end_s: float) -> list[tuple[float, float]]:
        """Return the spans that are black. Raises SourceError."""
        spans = self._black.end(end_s)
        if len(spans) > MOST_BLACK:
            raise SourceError("The picture flickers between black and light all the time.")
        return [(round(a, 6), round(b, 6)) for a, b in spans]

    def halves(self, end_s: float) -> list[float]:
        """Return when the first picture of each half second is shown; one that is held, always."""
        first = {int(at / STRIDE_S): at for at in reversed(self.shown)}
        begun, past = int(self.shown[0] / STRIDE_S), int(end_s / STRIDE_S)
        halves = (first.get(half, half * STRIDE_S) for half in range(begun, past + 1))
        return [round(at, 6) for at in halves]

    def nearest(self, at: float) -> float:
        """Return when a picture is shown first near `at`; where one is held there, `at` itself."""
        place = bisect_left(self.shown, at)
        found = min(self.shown[max(0, place - 1) : place + 1], key=lambda each: abs(each - at))
        return round(found if abs(found - at) <= NEAR_S else at, 6)

    def _small(self, frame: VideoFrame) -> np.ndarray[Any, Any]:
        scale = min(1.0, SIDE / max(frame.width, frame.height))
        width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
        small = self._reformatter.reformat(
            frame, width, height, format="bgr24", interpolation=Interpolation.AREA
        )
        return small.to_ndarray()
