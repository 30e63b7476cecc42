"""Codecs each of whose packets is a picture that needs no other: all is copied, nothing encoded."""

from __future__ import annotations

from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Edge, Packet, Uncopyable
from cutmv.media.engine.timeline.pictures import Entry

#: FFmpeg's names of them.
INTRA = frozenset({"prores", "mjpeg", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "cfhd"})


class Intra:
    """See `base.Codec`."""

    after_edge = b""

    def __init__(self, stream: VideoStream) -> None:
        del stream

    def entry(self, packet: Packet) -> Entry:
        """See `base.Codec`."""
        del packet
        return Entry.CLEAN

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet)

    def edge(self, *, few: bool) -> Edge:
        """See `base.Codec`."""
        del few
        raise Uncopyable("its pictures need no edges")

    def header(self, *, edges: bool, crf: float | None) -> None:
        """See `base.Codec`."""
        del edges, crf
