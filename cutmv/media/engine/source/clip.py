"""A clip of an open source: its pictures, when each is shown, and their packets and frames."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Self

from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Packet
from cutmv.media.engine.source.file import (
    SourceError,
    Undecoded,
    decode,
    forget,
    sparing,
    video_of,
)
from cutmv.media.engine.source.windows import Window, packets_from
from cutmv.media.engine.timeline.pictures import Picture

#: The tick (s) of a clip's own clock.
FINEST = Fraction(1, 10_000)
#: The coarsest clock (s) on which a clip's times are rounded to ticks. A coarser one counts
#: pictures, and a clip that begins between two of them has ticks of a part of its own.
COARSEST = Fraction(1, 500)

#: Opens the clip's source once more.
Again = Callable[[], AbstractContextManager[InputContainer]]


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a clip: `length` ticks of `tick` seconds, from `start` ticks on.

    A tick of the source's clock is `parts` of them. `first` and `past` are ticks of the source's:
    the last at or before the start, and the first at or after the end.
    """

    tick: Fraction
    parts: int
    start: int
    length: int
    first: int
    past: int

    @classmethod
    def of(cls, start_s: Fraction, end_s: Fraction, clock: Fraction) -> Self:
        """Return the span from `start_s` to `end_s` (s) on a source's clock, a tick's seconds."""
        parts = 1 if clock <= COARSEST else -(-clock // FINEST)
        tick = clock / parts
        start, end = round(start_s / tick), round(end_s / tick)
        return cls(tick, parts, start, end - start, start // parts, -(-end // parts))


class Clip:
    """The pictures that are seen in a span.

    Each is shown until the next, the last until the end; what is shown at the start is there from
    the first instant. Times in a clip are ticks of the span from its start.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        window: Window,
        span: Span,
        again: Again,
    ) -> None:
        self.container, self._again = container, again
        self.stream, self.window, self.span = stream, window, span
        self.pictures = window.timeline.between(span.first, span.past)
        #: When pictures are shown that turned out to be damaged, in the source's ticks.
        self.damaged: set[int] = set()
        # The first is there from the first instant, whether it began earlier or later.
        self._shown = array("q", [0, *(self.time(each.pts) for each in self.pictures[1:])])

    @contextmanager
    def apart(self) -> Iterator[Self]:
        """Yield the clip with a container and a decoder of its own, for another thread."""
        with self._again() as container:
            stream = video_of(container, self.stream.index)
            clip = type(self)(container, stream, self.window, self.span, self._again)
            clip.damaged = self.damaged
            yield clip

    def time(self, of_source: int) -> int:
        """Return a time of the source as one of the clip."""
        return of_source * self.span.parts - self.span.start

    def pts(self, of_source: int) -> int:
        """Return when in the clip a picture is shown."""
        return 0 if of_source == self.pictures[0].pts else self.time(of_source)

    def until(self, end_s: Fraction | None) -> int:
        """Return an end, in seconds on the file's clock, as a time of the clip; none is its own."""
        if end_s is None:
            return self.span.length
        return min(self.span.length, round(end_s / self.span.tick) - self.span.start)

    def count_before(self, end: int) -> int:
        """Return how many of its pictures are shown before a time of the clip."""
        return sum(1 for picture in self.pictures if self.pts(picture.pts) < end)

    def duration(self, pts: int) -> int:
        """Return for how long the picture at `pts` of the clip is shown."""
        after = bisect_right(self._shown, pts)
        if not after or self._shown[after - 1] != pts:
            return 0
        return (self._shown[after] if after < len(self._shown) else self.span.length) - pts

    def beside(self, *, before: bool, after: bool) -> list[Picture]:
        """Return its pictures, and with them that right before and that right after it.

        Raises SourceError where these are not known.
        """
        shown = self.window.timeline.shown()
        first, last = (shown.index(self.pictures[place]) for place in (0, -1))
        if (before and not first) or (after and last + 1 == len(shown)):
            raise SourceError("The picture beside a part of the clip is not there.")
        return shown[first - before : last + 1 + after]

    def packets_from(self, first: int) -> Iterator[Packet]:
        """Yield the packets from one of the timeline on, the same as when it was made.

        Raises SourceError where they are not.
        """
        packets = packets_from(self.container, self.stream, self.window, first)
        if self.window.by_decoding:
            yield from packets
            return
        pictures = self.window.timeline.pictures[first:]
        for picture, packet in zip(pictures, packets, strict=False):
            if (packet.pts, packet.size) != (picture.pts, picture.size):
                raise SourceError("The file reads otherwise the second time.")
            if packet.is_corrupt:
                self.damaged.add(picture.pts)
            yield packet

    def decoded(self, pictures: Sequence[Picture]) -> Iterator[VideoFrame]:
        """Yield pictures of the clip, decoded, with their times in it. Raises Undecoded."""
        wanted = {picture.pts for picture in pictures}
        timeline = self.window.timeline
        first = timeline.entry_before(pictures[0].pts) or 0
        packets = self.packets_from(first)
        time_of = self._in_turn() if self.window.by_decoding else _own_time
        if not self.window.by_decoding:
            packets = islice(packets, timeline.last_of(wanted) + 1 - first)
            packets = sparing(self.stream, packets, lambda packet: packet.pts in wanted)
        for frame in _decoded(self.stream, packets, wanted, time_of):
            if frame.pts is not None:
                if frame.is_corrupt:
                    self.damaged.add(frame.pts)
                frame.pts = self.pts(frame.pts)
                frame.time_base = self.span.tick
                frame.pict_type = PictureType.NONE
                yield frame
        if wanted:
            at_s = float(max(0, self.time(min(wanted))) * self.span.tick)
            raise Undecoded(f"{len(wanted)} pictures of it can't be decoded, from {at_s:.3f} s on.")

    def _in_turn(self) -> Callable[[VideoFrame], int | None]:
        """Return what tells when each picture is shown that the decoder gives, from the first."""
        times = iter([picture.pts for picture in self.window.timeline.pictures])
        return lambda _: next(times, None)


def _own_time(frame: VideoFrame) -> int | None:
    return frame.pts


def _decoded(
    stream: VideoStream,
    packets: Iterable[Packet],
    wanted: set[int],
    time_of: Callable[[VideoFrame], int | None],
) -> Iterator[VideoFrame]:
    """Decode packets until the pictures at the times `wanted` are there, and yield these.

    `time_of` tells when a picture is shown, which becomes its `pts`. Times that were not found are
    left in `wanted`.
    """
    forget(stream)
    for packet in packets:
        yield from _wanted(decode(stream, packet), wanted, time_of)
        if not wanted:
            break
    else:
        yield from _wanted(decode(stream, None), wanted, time_of)
    forget(stream)


def _wanted(
    frames: Iterable[VideoFrame], wanted: set[int], time_of: Callable[[VideoFrame], int | None]
) -> Iterator[VideoFrame]:
    for frame in frames:
        at = time_of(frame)
        if at is not None and at in wanted:
            wanted.discard(at)
            frame.pts = at
            yield frame
