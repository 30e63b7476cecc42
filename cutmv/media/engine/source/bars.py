"""Finds the black bars around a picture, in pictures all over a clip."""

from __future__ import annotations

from fractions import Fraction

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from cutmv.media.engine.source.file import decode, forget, rewind, tick_of

#: Pictures that are looked at, evenly spaced over a clip, and the most that are decoded for one.
LOOKS, MOST_DECODED = 16, 300
#: A line is dark whose mean is no higher, of 255; and lit, beyond doubt, from this on.
DARK, LIT = 6, 20
#: Lines within which the dark must become lit: where it does so slowly, it is no bar.
EDGE = 4
#: Bars are as wide as each other, but for so many lines.
UNEQUAL = 6
#: The least part of each side that a picture has beside its bars.
LEAST = 0.4

#: Left, top, width and height in pixels, as the picture is decoded.
Rect = tuple[int, int, int, int]


def inside_bars(
    container: InputContainer, stream: VideoStream, start: Fraction, end: Fraction
) -> Rect | None:
    """Return what lies inside the bars from `start` to `end` (s); none where that is not sure.

    Whatever was lit in any of the pictures is no bar: in dark scenes much is dark. What is left
    has even sides and an even place, as 4:2:0 pictures need it.
    """
    rows: list[float] = []
    columns: list[float] = []
    size: tuple[int, int] | None = None
    for number in range(LOOKS):
        frame = _frame_at(container, stream, start + (end - start) * number / LOOKS)
        if frame is None or size not in (None, (frame.width, frame.height)):
            continue
        size = (frame.width, frame.height)
        across, down = _means(frame)
        columns = [max(pair) for pair in zip(columns or across, across, strict=True)]
        rows = [max(pair) for pair in zip(rows or down, down, strict=True)]
    if size is None:
        return None
    horizontal, vertical = _span(columns), _span(rows)
    if horizontal is None or vertical is None or (horizontal[1], vertical[1]) == size:
        return None
    return horizontal[0], vertical[0], horizontal[1], vertical[1]


def _frame_at(container: InputContainer, stream: VideoStream, at: Fraction) -> VideoFrame | None:
    """Return the picture that is shown at a time (s), or one soon before it."""
    wanted = int(at / tick_of(stream))
    rewind(container, stream, wanted)
    forget(stream)
    latest, count = None, 0
    for packet in container.demux(stream):
        for frame in decode(stream, packet if packet.size else None):
            count += 1
            if latest is not None and frame.pts is not None and frame.pts > wanted:
                return latest
            latest = frame
        if count >= MOST_DECODED:
            break
    return latest


def _means(frame: VideoFrame) -> tuple[list[float], list[float]]:
    """Return the mean light of each column and of each line, of 255."""
    grey = frame.reformat(format="gray", dst_color_range=ColorRange.JPEG)
    plane, width, height = grey.planes[0], grey.width, grey.height
    raw = bytes(plane)
    lines = [raw[at * plane.line_size : at * plane.line_size + width] for at in range(height)]
    whole = b"".join(lines)
    columns = [sum(whole[at::width]) / height for at in range(width)]
    return columns, [sum(line) / width for line in lines]


def _span(means: list[float]) -> tuple[int, int] | None:
    """Return where what is lit begins and how long it is; all of it where there are no bars.

    None where it is not sure: all is dark, or bars are unequal or have no clear edge.
    """
    lit = [place for place, mean in enumerate(means) if mean > DARK]
    if not lit:
        return None
    first, past = lit[0], lit[-1] + 1
    if (first, past) == (0, len(means)):
        return 0, len(means)
    inner = max(means[first : first + EDGE]), max(means[max(0, past - EDGE) : past])
    sure = (
        min(inner) >= LIT
        and abs(first - (len(means) - past)) <= UNEQUAL
        and past - first >= LEAST * len(means)
    )
    if not sure:
        return None
    begin = first + first % 2
    return begin, (past - begin) // 2 * 2
