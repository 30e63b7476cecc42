"""Codecs whose packets are pictures that need no others: all is copied, nothing encoded."""

from __future__ import annotations

from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Edge, Packet, Uncopyable
from cutmv.media.engine.timeline.pictures import Entry

#: FFmpeg's names of them.
INTRA = frozenset({
    "prores", "mjpeg", "dnxhd", "cfhd", "png", "jpeg2000", "v210", "r210", "dvvideo", "hap",
    "magicyuv"
})  # fmt: skip


class Intra:
    """See `base.Codec`."""

    after_edge = b""

    def __init__(self, stream: VideoStream) -> None:
        del stream

    def entry(self, packet: Packet) -> Entry:
        """See `base.Codec`."""
        return Entry.CLEAN if packet.is_keyframe else Entry.NONE

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet)

    def edge(self, crf: float | None) -> Edge:
        """See `base.Codec`."""
        del crf
        raise Uncopyable("it begins between two key pictures, and its codec has no edges")

    def header(self, *, edges: bool) -> None:
        """See `base.Codec`."""
        del edges
