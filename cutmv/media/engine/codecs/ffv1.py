"""FFV1: edges without loss, by options with which our encoder writes the source's own header."""

from __future__ import annotations

from itertools import product

from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Edge, Packet, Uncopyable, encoder
from cutmv.media.engine.codecs.plain import PlainEdge
from cutmv.media.engine.timeline.pictures import Entry

#: What FFmpeg's encoder can be told that its header has; the usual first. A header tells the
#: version, the coder, the slices, their checksums, and whether each picture is a key.
_TOLD = {
    "level": ("3", "4", "1", "0"),
    "coder": ("0", "1", "2", "-2"),
    "slicecrc": ("1", "0", "2"),
    "slices": ("4", "6", "9", "12", "16", "24", "30", "1"),
    "g": ("12", "1"),
}


class Ffv1:
    """See `base.Codec`."""

    after_edge = b""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._header = bytes(stream.codec_context.extradata or b"")
        self._options: dict[str, str] | None = None

    def entry(self, packet: Packet) -> Entry:
        """See `base.Codec`."""
        return Entry.CLEAN if packet.is_keyframe else Entry.NONE

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet)

    def edge(self, crf: float | None) -> Edge:
        """See `base.Codec`."""
        del crf
        return PlainEdge(self._stream, "ffv1", self._matching())

    def header(self, *, edges: bool) -> None:
        """See `base.Codec`."""
        if edges:
            self._matching()

    def _matching(self) -> dict[str, str]:
        """Return options with which the encoder writes the source's header. Raises Uncopyable."""
        if self._options is None:
            for values in product(*_TOLD.values()):
                options = dict(zip(_TOLD, values, strict=True))
                try:
                    context = encoder(self._stream, "ffv1", dict(options))
                except Uncopyable:
                    continue
                if bytes(context.extradata or b"") == self._header:
                    self._options = options
                    break
            else:
                raise Uncopyable("its header is not one that our encoder writes")
        return dict(self._options or {})
