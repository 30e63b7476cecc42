"""Joins the parts of a film's picture, each encoded by itself: bit for bit, without a seam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine.protocol import Part
from cutmv.media.engine.source.clip import Clip, Span
from cutmv.media.engine.source.file import tick_of
from cutmv.media.engine.timeline.pictures import Picture, with_dts
from cutmv.media.engine.writer import Seen, Writer

#: Where an `avcC` has the level, and where the first parameter set in it has it (ISO 14496-15,
#: 5.3.3.1.2; ITU-T H.264, 7.3.2.1.1).
LEVELS_AT = (3, 11)


class Unjoinable(Exception):
    """The parts are not those of one picture; the message says why."""


class Joined:
    """The picture of a span of a source, in parts that follow one another. Raises Unjoinable."""

    def __init__(self, parts: Sequence[Part], span: Span) -> None:
        self._parts = parts
        #: When each picture is shown, in ticks of the span, in the order of decoding.
        self.times: list[int] = []
        self.size = (0, 0)
        headers: list[bytes] = []
        ends_by_key = False
        for part in parts:
            begins = round(part.start / span.tick) - span.start
            with _opened(part) as (file, video):
                headers.append(bytes(video.codec_context.extradata or b""))
                ratio = tick_of(video) / span.tick
                packets = [(each.pts or 0, each.is_keyframe) for each in _packets(file, video)]
                self.size = (video.codec_context.width, video.codec_context.height)
            # Two key pictures in a row may be taken for one (ITU-T H.264, 7.4.1.2.4).
            if ends_by_key or not packets or not packets[0][1]:
                raise Unjoinable("a part of it does not begin a stream of its own")
            ends_by_key = packets[-1][1]
            self.times += [begins + round(pts * ratio) for pts, _ in packets]
        if len({_without_level(header) for header in headers}) > 1:
            raise Unjoinable("its parts are not encoded alike")
        #: The header of the part with the highest level, which is that of the whole.
        self._header = max(headers, key=lambda header: header[LEVELS_AT[0]])

    def refuse_others(self, clip: Clip, pictures: int | None) -> None:
        """Raise Unjoinable unless these are the clip's pictures, or so many made of them."""
        shown = [clip.pts(picture.pts) for picture in clip.pictures]
        wrong = sorted(self.times) != shown if pictures is None else len(self.times) != pictures
        if wrong or len(set(self.times)) != len(self.times):
            raise Unjoinable("its parts do not show the clip's pictures")

    def add_to(self, writer: Writer) -> None:
        """Add the picture's track."""
        with _opened(self._parts[0]) as (_, video):
            writer.add_picture(video, self._header)

    def packets(self, end: int) -> Iterator[Seen]:
        """Yield the packets; each is shown until the next, the last until the `end` (ticks)."""
        shown = sorted(self.times)
        durations = dict(zip(shown, [b - a for a, b in pairwise([*shown, end])], strict=True))
        placed = with_dts([Picture(pts, None) for pts in self.times])
        for (data, key), picture in zip(self._read(), placed, strict=True):
            yield Seen(data, picture.pts, picture.dts or 0, durations[picture.pts], key)

    def _read(self) -> Iterator[tuple[bytes, bool]]:
        for part in self._parts:
            with _opened(part) as (file, video):
                for packet in _packets(file, video):
                    yield bytes(packet), packet.is_keyframe


@contextmanager
def _opened(part: Part) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        file = av.open(part.path, format="mp4")
    except av.FFmpegError as error:
        raise Unjoinable("a part of it can't be read") from error
    with file:
        yield file, file.streams.video[0]


def _packets(file: InputContainer, video: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    return (packet for packet in file.demux(video) if packet.size)


def _without_level(header: bytes) -> bytes:
    if len(header) <= max(LEVELS_AT):
        raise Unjoinable("a part of it tells nothing of its picture")
    return bytes(0 if at in LEVELS_AT else value for at, value in enumerate(header))
