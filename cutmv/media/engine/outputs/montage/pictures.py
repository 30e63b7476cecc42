"""The pictures of many clips, one after the other, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import accumulate, pairwise

import av
from av.container import InputContainer
from av.packet import PacketSideData
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import beside
from cutmv.media.engine.codecs.headers import hevc, nal
from cutmv.media.engine.outputs.joining import Unjoinable
from cutmv.media.engine.outputs.montage.headers import joined
from cutmv.media.engine.outputs.montage.request import Piece
from cutmv.media.engine.source.file import tick_of
from cutmv.media.engine.timeline.pictures import Picture, with_dts
from cutmv.media.engine.writer import Seen, Writer


class Pictures:
    """The packets of all pieces. Raises Unjoinable where they are not of one kind."""

    def __init__(self, pieces: Sequence[Piece], muxer: str) -> None:
        self._pieces, self._muxer = pieces, muxer
        #: When each piece begins in the film, in seconds, and when the last ends.
        self.begins_s = [Fraction(0), *accumulate(each.end - each.start for each in pieces)]
        clocks: list[tuple[Fraction, list[int]]] = []
        headers: list[bytes] = []
        shapes = set()
        for piece in pieces:
            with self._opened(piece) as (file, video):
                context = video.codec_context
                shapes.add((context.name, context.width, context.height, context.pix_fmt))
                headers.append(bytes(context.extradata or b""))
                clocks.append((tick_of(video), [each.pts or 0 for each in _packets(file, video)]))
                self._codec = context.name
        if len(shapes) > 1:
            raise Unjoinable("the clips' pictures are not of one size and kind")
        self._header = joined(self._codec, headers)
        #: The film's clock is the finest of all.
        self.tick = min(tick for tick, _ in clocks)
        self._times = [
            round((begin_s + pts * tick) / self.tick)
            for begin_s, (tick, times) in zip(self.begins_s, clocks, strict=False)
            for pts in times
        ]
        #: How many there are.
        self.count = len(self._times)

    @property
    def length(self) -> int:
        """The film's length, in ticks."""
        return round(self.begins_s[-1] / self.tick)

    def add_to(self, writer: Writer) -> None:
        """Add the track."""
        with self._opened(self._pieces[0]) as (_, video):
            writer.add_picture(video, self._header or None)

    def packets(self) -> Iterator[Seen]:
        """Yield the packets; each picture is shown until the next, the last until the end."""
        shown = sorted(self._times)
        durations = dict(
            zip(shown, [b - a for a, b in pairwise([*shown, self.length])], strict=True)
        )
        placed = with_dts([Picture(pts, None) for pts in self._times])
        for (data, key, alpha), picture in zip(self._read(), placed, strict=True):
            pts, dts = picture.pts, picture.dts or 0
            yield Seen(data, pts, dts, durations[pts], key, alpha)

    def _read(self) -> Iterator[tuple[bytes, bool, PacketSideData | None]]:
        # Nothing after a join may be taken to follow what is before it.
        after = nal.with_lengths([hevc.END_OF_SEQUENCE_UNIT]) if self._codec == "hevc" else b""
        for place, piece in enumerate(self._pieces, start=1):
            last = place == len(self._pieces)
            with self._opened(piece) as (file, video):
                packets = [
                    (bytes(each), each.is_keyframe, beside(each)) for each in _packets(file, video)
                ]
            for number, (data, key, alpha) in enumerate(packets, start=1):
                ends = number == len(packets) and not last
                yield (data + after if ends and not data.endswith(after) else data), key, alpha

    @contextmanager
    def _opened(self, piece: Piece) -> Iterator[tuple[InputContainer, VideoStream]]:
        # A muxer's name may be that of one kind of what a demuxer reads.
        name = {"webm": "matroska"}.get(self._muxer, self._muxer)
        with av.open(piece.path, format=name) as file:
            yield file, file.streams.video[0]


def _packets(file: InputContainer, video: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    return (packet for packet in file.demux(video) if packet.size)
