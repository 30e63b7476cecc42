"""Codecs whose keyframes hold all that a decoder needs: VP8, VP9, AV1, MPEG-2, Animation."""

from __future__ import annotations

from collections.abc import Iterator

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Edge, EdgePacket, Packet, beside, encoder, rate_of
from cutmv.media.engine.timeline.pictures import Entry

#: The encoder of each codec, by FFmpeg's names, and its options; `{crf}` is the quality.
PLAIN: dict[str, tuple[str, dict[str, str]]] = {
    "vp8": ("libvpx", {"deadline": "good", "cpu-used": "4", "crf": "6", "b": "50M",
                       "auto-alt-ref": "0", "lag-in-frames": "0"}),
    "vp9": ("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "crf": "16", "b": "0",
                           "auto-alt-ref": "0", "lag-in-frames": "0", "row-mt": "1"}),
    "av1": ("libsvtav1", {"preset": "9", "crf": "20",
                          "svtav1-params": "pred-struct=1:lookahead=0:hierarchical-levels=2"}),
    "qtrle": ("qtrle", {}),
    "mpeg2video": ("mpeg2video", {"qmin": "2", "qmax": "2", "bf": "0", "g": "12", "b": "50M"}),
}  # fmt: skip
#: FFmpeg's own names of decoders of these codecs.
DECODERS = {"libdav1d": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
PLAIN |= {decoder: PLAIN[codec] for decoder, codec in DECODERS.items()}


class Plain:
    """See `base.Codec`."""

    after_edge = b""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        #: Pictures may lead an MPEG-2 group that need the one before.
        self._entry = Entry.OPEN if stream.codec_context.name == "mpeg2video" else Entry.CLEAN

    def entry(self, packet: Packet) -> Entry:
        """See `base.Codec`."""
        return self._entry if packet.is_keyframe else Entry.NONE

    def data(self, packet: Packet) -> bytes:
        """See `base.Codec`."""
        return bytes(packet)

    def edge(self, crf: float | None) -> Edge:
        """See `base.Codec`."""
        del crf
        return PlainEdge(self._stream, *PLAIN[self._stream.codec_context.name])

    def header(self, *, edges: bool) -> None:
        """See `base.Codec`."""
        del edges


class PlainEdge:
    """Encodes a picture each tick, since some codecs know no other times, and maps these back."""

    def __init__(self, stream: VideoStream, name: str, options: dict[str, str]) -> None:
        self._tick = 1 / rate_of(stream)
        self._context = encoder(stream, name, dict(options), self._tick)
        self._times: list[int] = []

    def encode(self, frame: VideoFrame | None) -> Iterator[EdgePacket]:
        """See `base.Edge`."""
        if frame is not None and frame.pts is not None:
            self._times.append(frame.pts)
            frame.pts, frame.time_base = len(self._times) - 1, self._tick
        for packet in self._context.encode(frame):
            if packet.pts is not None:
                data, at = bytes(packet), self._times[packet.pts]
                yield EdgePacket(at, packet.is_keyframe, data, beside(packet))
