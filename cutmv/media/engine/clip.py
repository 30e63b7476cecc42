"""A clip of an open source: its pictures, when each is shown, and their packets and frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine import edges
from cutmv.media.engine.codecs.base import Packet
from cutmv.media.engine.pictures import Entry, Picture
from cutmv.media.engine.source import SourceError, Undecoded, Window, packets_from


class Clip:
    """The pictures that are seen from `start` to before `end`, in ticks of the source's clock.

    Each is shown until the next, the last until the end; what is shown at the start is there from
    the first instant.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, window: Window, start: int, end: int
    ) -> None:
        self._container = container
        self.stream, self.window, self.start, self.end = stream, window, start, end
        self.pictures = window.timeline.between(start, end)
        shown = [max(0, picture.pts - start) for picture in self.pictures]
        self._pts = dict(zip((picture.pts for picture in self.pictures), shown, strict=True))
        ends = [*shown[1:], end - start]
        self._durations = {pts: after - pts for pts, after in zip(shown, ends, strict=True)}

    def pts(self, of_source: int) -> int:
        """Return when a picture is shown, in ticks from the clip's start."""
        return self._pts.get(of_source, of_source - self.start)

    def duration(self, pts: int) -> int:
        """Return for how many ticks the picture at `pts` of the clip is shown."""
        return self._durations.get(pts, 0)

    def packets_from(self, first: int) -> Iterator[Packet]:
        """Yield the packets from one of the timeline on, the same as when it was made.

        Raises SourceError where they are not.
        """
        pictures = self.window.timeline.pictures[first:]
        packets = packets_from(self._container, self.stream, self.window, first)
        for picture, packet in zip(pictures, packets, strict=False):
            if (packet.pts, packet.size) != (picture.pts, picture.size):
                raise SourceError("The file reads otherwise the second time.")
            yield packet

    def decoded(self, pictures: Sequence[Picture]) -> Iterator[VideoFrame]:
        """Yield pictures of the clip, decoded, with their times in it. Raises Undecoded."""
        wanted = {picture.pts for picture in pictures}
        first = max(
            place
            for place, picture in enumerate(self.window.timeline.pictures)
            if picture.entry is not Entry.NONE and picture.pts <= pictures[0].pts
        )
        for frame in edges.decoded(self.stream, self.packets_from(first), wanted):
            if frame.pts is not None:
                frame.pts = self.pts(frame.pts)
                frame.time_base = self.stream.time_base
                frame.pict_type = PictureType.NONE
                yield frame
        if wanted:
            at = min(wanted) - self.start
            raise Undecoded(f"{len(wanted)} pictures can\'t be decoded, from {at} ticks on.")
