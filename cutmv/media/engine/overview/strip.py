"""Puts small pictures of a source side by side, into sheets."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from cutmv.media.engine.overview.request import OverviewRequest
from cutmv.media.engine.source.file import SourceError

#: Small pictures of a sheet at most, and in a row of one.
SHEET, COLUMNS = 32, 8
#: Seconds after which a sheet that is not full is told of: so long nobody waits for the next.
LONGEST_S = 1.5
#: How exactly a JPEG has a picture, from 2 to 31, by libavcodec's scale.
QUALITY = 5
#: The pixels of a JPEG.
PIXELS = "yuvj420p"

Told = Callable[[str, dict[str, Any]], None]


class Strip:
    """Takes pictures in any order, and tells each sheet of them as soon as it is full."""

    def __init__(self, wanted: OverviewRequest, tell: Told) -> None:
        self._wanted, self._tell = wanted, tell
        self._reformatter = VideoReformatter()
        self._small: list[VideoFrame] = []
        self._times: list[float] = []
        self._since = time.monotonic()
        #: When the pictures are shown that were taken, in seconds from the file's start.
        self.taken: set[float] = set()

    def add(self, frame: VideoFrame, at: float) -> None:
        """Take a picture that is shown from `at` seconds on, unless it was taken already."""
        at = round(at, 6)
        if at in self.taken:
            return
        self.taken.add(at)
        width, height = self._wanted.width, self._wanted.height
        small = self._reformatter.reformat(
            frame, width, height, format=PIXELS, interpolation=Interpolation.AREA
        )
        self._small.append(small)
        self._times.append(at)
        if len(self._small) == SHEET or time.monotonic() - self._since > LONGEST_S:
            self.flush()

    def flush(self) -> None:
        """Tell the sheet that is not full yet, if there is one."""
        if self._small:
            sheet = _sheet(self._small, self._wanted.filters)
            jpeg = b64encode(sheet).decode()
            self._tell("sheet", {"times": self._times, "columns": COLUMNS, "jpeg": jpeg})
        self._small, self._times, self._since = [], [], time.monotonic()


def _sheet(pictures: list[VideoFrame], filters: tuple[tuple[str, str], ...]) -> bytes:
    """Return pictures side by side, as a JPEG."""
    first, graph = pictures[0], Graph()
    tick = Fraction(1, 25)
    before = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=tick
    )
    rows = -(-len(pictures) // COLUMNS)
    tiles = ("tile", f"{COLUMNS}x{rows}:color=black")
    for name, options in [*filters, tiles, ("format", PIXELS), ("buffersink", "")]:
        made = graph.add(name, options)
        before.link_to(made)
        before = made
    graph.configure()
    for place, picture in enumerate(pictures):
        picture.pts, picture.time_base = place, tick
        graph.push(picture)
    graph.push(None)
    sheet = graph.pull()
    if not isinstance(sheet, VideoFrame):
        raise SourceError("The file's pictures can't be put together.")
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = sheet.width, sheet.height, PIXELS
    encoder.time_base, encoder.color_range = tick, 2
    encoder.qmin = encoder.qmax = QUALITY
    sheet.pts = 0
    return b"".join(bytes(each) for each in [*encoder.encode(sheet), *encoder.encode(None)])
