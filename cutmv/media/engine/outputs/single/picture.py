"""Chooses one picture of many: the sharpest that is not black."""

from __future__ import annotations

from typing import Any

import av
from av.video.frame import VideoFrame

#: Width in pixels at which pictures are compared, and how coarsely they are encoded for that.
COMPARED_WIDTH, COARSENESS = 960, 5 * 118
#: Width in pixels at which it is seen whether a picture is black.
SEEN_WIDTH = 64
#: A picture is black when all but one in so many of its pixels are as dark as this, of 255.
BRIGHT_PART, DARK = 50, 20


class Sharpest:
    """The sharpest of the pictures seen so far that are not black; none where all are.

    It is the one of which most is left to tell when it is encoded coarsely, as a JPEG is.
    """

    def __init__(self) -> None:
        self.picture: VideoFrame | None = None
        self._most = -1

    def see(self, frame: VideoFrame) -> None:
        """Compare one more picture."""
        if _black(frame):
            return
        bytes_of = _told(frame)
        if bytes_of > self._most:
            self.picture, self._most = frame, bytes_of


def _black(frame: VideoFrame) -> bool:
    small = frame.reformat(*_size(frame, SEEN_WIDTH), "gray")
    plane = small.planes[0]
    raw = bytes(plane)
    lines = range(0, small.height * plane.line_size, plane.line_size)
    lights = sorted(b"".join(raw[at : at + small.width] for at in lines))
    return lights[-1 - len(lights) // BRIGHT_PART] <= DARK


def _told(frame: VideoFrame) -> int:
    width, height = _size(frame, min(COMPARED_WIDTH, frame.width))
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = frame.time_base
    encoder.options = {"flags": "+qscale", "global_quality": str(COARSENESS)}
    compared = frame.reformat(width, height, "yuvj420p")
    return sum(packet.size for packet in encoder.encode(compared))


def _size(frame: VideoFrame, width: int) -> tuple[int, int]:
    width -= width % 2
    height = max(2, round(width * frame.height / frame.width))
    return max(2, width), height + height % 2
