"""Cuts a clip by copying what can be copied, and encoding only its edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

from av.container import InputContainer
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine import edges, sound
from cutmv.media.engine.codecs import Codec, Uncopyable
from cutmv.media.engine.codecs.base import EdgePacket, Packet
from cutmv.media.engine.pictures import Entry, Picture
from cutmv.media.engine.segments import Copied, Encoded, Segment, decide
from cutmv.media.engine.source import SourceError, Window, opened, packets_from, window
from cutmv.media.engine.writer import Seen, Writer

#: Pictures of an edge under which some of an encoder's methods have nothing to go by.
FEW = 12
#: Pictures at the start of a clip whose quantizers tell its quality.
LOOKED_AT = 12


class Timing:
    """The times of a clip's pictures: each is shown until the next, the last until the end."""

    def __init__(self, pictures: list[Picture], start: int, end: int) -> None:
        self._start = start
        shown = [max(0, picture.pts - start) for picture in pictures]
        self._pts = dict(zip((picture.pts for picture in pictures), shown, strict=True))
        ends = [*shown[1:], end - start]
        self._durations = {pts: after - pts for pts, after in zip(shown, ends, strict=True)}

    def pts(self, of_source: int) -> int:
        """Return when a picture is shown, in ticks from the clip's start."""
        return self._pts.get(of_source, of_source - self._start)

    def duration(self, pts: int) -> int:
        """Return for how many ticks the picture at `pts` of the clip is shown."""
        return self._durations.get(pts, 0)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a clip's pictures and its sound."""

    copied: int
    encoded: int
    sound: str | None


def cut(
    source: str, demuxer: str, destination: Path, muxer: str, start_s: Fraction, end_s: Fraction
) -> Report:
    """Cut the clip from `start_s` to `end_s`, seconds on the file's own clock.

    Raises SourceError, and Uncopyable where the whole clip has to be encoded.
    """
    with opened(source, demuxer) as container, opened(source, demuxer) as of_sound:
        stream = container.streams.video[0]
        stream.codec_context.options = edges.TELL_QUANTIZERS
        tick = stream.time_base
        if tick is None:
            raise SourceError("The picture has no clock.")
        start, end = round(start_s / tick), round(end_s / tick)
        found = window(container, stream, start, end)
        pictures = _Pictures(container, stream, found, start, end)
        with Writer(destination, muxer, tick) as writer:
            told = pictures.prepare(writer)
            heard = _add_sound(writer, of_sound, start * tick, end * tick)
            for packet in pictures.packets():
                writer.put(packet)
            writer.finish(end - start)
    return replace(told, sound=heard)


def _add_sound(
    writer: Writer, container: InputContainer, start_s: Fraction, end_s: Fraction
) -> str | None:
    """Add the first sound; return whether it is "copied" or "encoded", none where there is none."""
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    packets = sound.copied(container, stream, start_s, end_s)
    if packets is not None:
        writer.add_sound(stream, iter(packets))
        return "copied"
    encoder = sound.encoder(stream)
    frames = sound.decoded(container, stream, start_s, end_s)
    length = round((end_s - start_s) * encoder.sample_rate)
    writer.add_encoded_sound(encoder, sound.encoded(encoder, frames, length))
    return "encoded"


class _Pictures:
    """The packets of a clip's picture, copied and encoded."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, found: Window, start: int, end: int
    ) -> None:
        self._container, self._stream, self._found = container, stream, found
        self._start = start
        self._codec: Codec = found.codec
        self._timing = Timing(found.timeline.between(start, end), start, end)
        self._segments: list[Segment] = decide(found.timeline, start, end)
        copied = [each for each in self._segments if isinstance(each, Copied)]
        if not copied:
            raise Uncopyable("no key picture of it lies in the clip")
        first = copied[0].pictures[0]
        #: Ticks by which pictures are decoded before they are shown, on both sides of a join.
        self._delay = first.pts - (first.dts or 0)

    def prepare(self, writer: Writer) -> Report:
        """Add the track, and return how many pictures are copied and encoded."""
        encoded = [each for each in self._segments if isinstance(each, Encoded)]
        looked_at = islice(self._from(0), LOOKED_AT)
        crf = edges.quality(self._stream, looked_at) if encoded else None
        writer.add_picture(self._stream, self._codec.header(edges=bool(encoded), crf=crf))
        counted = [sum(p.shown for p in each.pictures) for each in self._segments]
        edge = sum(len(each.pictures) for each in encoded)
        return Report(sum(counted) - edge, edge, None)

    def packets(self) -> Iterator[Seen]:
        """Yield the packets in the order of their decoding."""
        for place, segment in enumerate(self._segments):
            if isinstance(segment, Copied):
                yield from self._copied(segment)
            else:
                copy_follows = place + 1 < len(self._segments)
                yield from self._encoded(segment, self._codec.after_edge if copy_follows else b"")

    def _copied(self, segment: Copied) -> Iterator[Seen]:
        kept = {picture.pts for picture in segment.pictures}
        pictures = self._found.timeline.pictures[segment.first : segment.last + 1]
        for picture, packet in zip(pictures, self._from(segment.first), strict=False):
            if picture.pts in kept:
                pts = self._timing.pts(picture.pts)
                yield Seen(
                    self._codec.data(packet),
                    pts,
                    max((picture.dts or 0) - self._start, -self._delay),
                    self._timing.duration(pts),
                    picture.entry is not Entry.NONE,
                )

    def _encoded(self, segment: Encoded, after: bytes) -> Iterator[Seen]:
        edge = self._codec.edge(few=len(segment.pictures) < FEW)
        held: EdgePacket | None = None
        for frame in chain(self._decoded(segment.pictures), (None,)):
            for packet in edge.encode(frame):
                if held is not None:
                    yield self._seen(held)
                held = packet
        if held is not None:
            yield self._seen(replace(held, data=held.data + after))

    def _seen(self, packet: EdgePacket) -> Seen:
        pts = packet.pts
        duration = self._timing.duration(pts)
        return Seen(packet.data, pts, pts - self._delay, duration, packet.key)

    def _decoded(self, pictures: tuple[Picture, ...]) -> Iterator[VideoFrame]:
        wanted = {picture.pts for picture in pictures}
        first = max(
            place
            for place, picture in enumerate(self._found.timeline.pictures)
            if picture.entry is not Entry.NONE and picture.pts <= pictures[0].pts
        )
        for frame in edges.decoded(self._stream, self._from(first), wanted):
            if frame.pts is not None:
                frame.pts = self._timing.pts(frame.pts)
                frame.time_base = self._stream.time_base
                frame.pict_type = PictureType.NONE
                yield frame
        if wanted:
            raise SourceError(f"{len(wanted)} pictures of the clip can't be decoded.")

    def _from(self, first: int) -> Iterator[Packet]:
        """Yield the packets from one of the timeline on, the same as when it was made."""
        pictures = self._found.timeline.pictures[first:]
        packets = packets_from(self._container, self._stream, self._found, first)
        for picture, packet in zip(pictures, packets, strict=False):
            if (packet.pts, packet.size) != (picture.pts, picture.size):
                raise SourceError("The file reads otherwise the second time.")
            yield packet
