"""Copies what can be copied of a clip, and encodes only its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cutmv.media.engine.codecs import Uncopyable
from cutmv.media.engine.codecs.base import EdgePacket, beside
from cutmv.media.engine.outputs.edges import Edges
from cutmv.media.engine.source.clip import Clip
from cutmv.media.engine.stages import Stages
from cutmv.media.engine.timeline.segments import Copied, Encoded, Segment, decide
from cutmv.media.engine.writer import Seen, Writer


class Smart:
    """The packets of a clip's picture, copied and encoded; to be closed. Raises Uncopyable.

    What will be `joined` to others is encoded to match them even where nothing is copied.
    """

    def __init__(self, clip: Clip, *, joined: bool = False) -> None:
        self._clip, self._codec = clip, clip.window.codec
        self._segments: list[Segment] = decide(
            clip.window.timeline, clip.span.first, clip.span.past
        )
        copied = [each for each in self._segments if isinstance(each, Copied)]
        if not copied and not joined:
            self._codec.header(edges=False)  # which may know better why
            raise Uncopyable("no key picture of it lies in the clip")
        ends = [each for run in copied for each in (run.pictures[0], run.pictures[-1])]
        #: Ticks by which pictures are decoded before they are shown, on both sides of a join; as
        #: many at the track's start as at its end, or it would not be as long as the clip.
        delay = max((each.pts - (each.dts or 0) for each in ends), default=0)
        self._delay = delay * clip.span.parts
        self._edges: Edges | None = None

    def close(self) -> None:
        """End what was begun."""
        if self._edges is not None:
            self._edges.close()

    def add_to(self, writer: Writer) -> tuple[int, int]:
        """Add the track; return how many pictures are copied and how many encoded."""
        encoded = [each for each in self._segments if isinstance(each, Encoded)]
        writer.add_picture(self._clip.stream, self._codec.header(edges=bool(encoded)))
        self._edges = Edges(self._clip, encoded)
        edge = sum(len(each.pictures) for each in encoded)
        return len(self._clip.pictures) - edge, edge

    def packets(self, stages: Stages) -> Iterator[Seen]:
        """Yield the packets in the order of their decoding."""
        for place, segment in enumerate(self._segments):
            if isinstance(segment, Copied):
                yield from self._copied(segment)
            else:
                copy_follows = place + 1 < len(self._segments)
                after = self._codec.after_edge if copy_follows else b""
                yield from stages.each("edges", self._encoded(segment, after))

    def _copied(self, segment: Copied) -> Iterator[Seen]:
        kept = {picture.pts for picture in segment.pictures}
        clip = self._clip
        pictures = clip.window.timeline.pictures[segment.first : segment.last + 1]
        for picture, packet in zip(pictures, clip.packets_from(segment.first), strict=False):
            if picture.pts in kept:
                pts = clip.pts(picture.pts)
                dts = max(clip.time(picture.dts or 0), -self._delay)
                dts = -self._delay if pts == 0 else dts
                key = picture.entry.exact
                data = self._codec.data(packet)
                yield Seen(data, pts, dts, clip.duration(pts), key, beside(packet))

    def _encoded(self, segment: Encoded, after: bytes) -> Iterator[Seen]:
        if self._edges is None:
            raise AssertionError("the track is added first")
        held: EdgePacket | None = None
        for packet in self._edges.packets(segment):
            if held is not None:
                yield self._seen(held)
            held = packet
        if held is not None:
            yield self._seen(replace(held, data=held.data + after))

    def _seen(self, packet: EdgePacket) -> Seen:
        pts = packet.pts
        duration = self._clip.duration(pts)
        return Seen(packet.data, pts, pts - self._delay, duration, packet.key, packet.beside)
