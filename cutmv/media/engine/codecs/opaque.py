"""Codecs, and streams of any codec, whose packets are decoded and not copied."""

from __future__ import annotations

from cutmv.media.engine.codecs.base import Edge, Packet, Uncopyable
from cutmv.media.engine.timeline.pictures import Entry


class Opaque:
    """See `base.Codec`. `reason` says why nothing of the stream is copied."""

    after_edge = b""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def entry(self, packet: Packet) -> Entry:
        """See `base.Codec`."""
        return Entry.ROUGH if packet.is_keyframe else Entry.NONE

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet)

    def edge(self, crf: float | None) -> Edge:
        """See `base.Codec`."""
        del crf
        raise Uncopyable(self._reason)

    def header(self, *, edges: bool) -> bytes | None:
        """See `base.Codec`."""
        del edges
        raise Uncopyable(self._reason)
