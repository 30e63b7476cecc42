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

#: Pixels of the longer side of the small pictures that are looked at.
SIDE = 128
#: Seconds of the shortest scene.
SHORTEST_SCENE_S = 0.25
#: The light of a pixel that counts as black at most (of 255), and how many such pixels make a black
#: picture: those of FFmpeg's `blackdetect`.
BLACK_LIGHT, BLACK_PART = 0.10 * 255, 0.98
#: Seconds of the shortest black that is told of.
SHORTEST_BLACK_S = 0.1
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
        #: When each picture is shown, in seconds from the file's start.
        self.shown = array("d")

    def take(self, frame: VideoFrame, at: float) -> None:
        """Look at a picture that is shown from `at` seconds on."""
        if self.shown and at <= self.shown[-1]:
            return  # a time that jumps back: what comes after it is shown over what was
        small = self._small(frame)
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
            "count": len(self.shown),
            "scenes": sorted(round(each, 6) for each in scenes),
            "black": [[round(a, 6), round(b, 6)] for a, b in self._black.end(end_s)],
            "movement": [round(sum(each) / len(each), 1) if each else 0.0 for each in self._moving],
        }

    def nearest(self, at: float) -> float:
        """Return when the picture is shown that begins nearest to `at`. There must be one."""
        place = bisect_left(self.shown, at)
        found = min(self.shown[max(0, place - 1) : place + 1], key=lambda each: abs(each - at))
        return round(found, 6)

    def _small(self, frame: VideoFrame) -> np.ndarray[Any, Any]:
        scale = min(1.0, SIDE / max(frame.width, frame.height))
        width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
        small = self._reformatter.reformat(
            frame, width, height, format="bgr24", interpolation=Interpolation.AREA
        )
        return small.to_ndarray()
