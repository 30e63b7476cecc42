"""What copying asks of a codec."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol, TypeAlias

import av
from av.codec.context import Flags
from av.packet import PacketSideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.headers import nal
from cutmv.media.engine.codecs.headers.bits import Malformed
from cutmv.media.engine.timeline.pictures import Entry

#: FFmpeg's fields of colour, which a decoder and an encoder call the same.
COLOURS = ("color_range", "color_primaries", "color_trc", "colorspace")
#: FFmpeg's field orders in which the upper field is shown first.
TOP_FIRST = (2, 4)
#: Pictures a second of a stream that does not tell: only encoders' choices depend on it.
UNKNOWN_RATE = Fraction(25)

#: FFmpeg's decoders of what is transparent, by the names of those that leave that out.
DECODERS_OF_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
#: What Matroska adds to a packet (RFC 9559, 5.1.3.5.2.2).
ADDED: Literal["matroska_block_additional"] = "matroska_block_additional"

#: PyAV knows its packets' streams only where types are checked.
Packet: TypeAlias = "av.Packet[VideoStream]"


class Uncopyable(Exception):
    """Why a stream's packets can't be copied beside encoded ones, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class EdgePacket:
    """A packet of an encoded edge: its time in ticks, whether it is a key, and its bytes.

    `beside` is what tells how transparent the picture is, where that stands beside it.
    """

    pts: int
    key: bool
    data: bytes
    beside: PacketSideData | None = None


class Edge(Protocol):
    """Encodes the pictures of one edge, in the order in which they are shown."""

    def encode(self, frame: VideoFrame | None) -> Iterator[EdgePacket]:
        """Encode a picture (none: what is left). Raises Uncopyable."""


class Codec(Protocol):
    """Reads a stream's packets, and makes others that can stand beside them.

    `after_edge` is put at the end of an edge's last packet, before a copied one.
    """

    after_edge: bytes

    def entry(self, packet: Packet) -> Entry:
        """Return whether decoding can begin at a packet, and note what its headers say.

        Raises Uncopyable.
        """

    def data(self, packet: Packet) -> bytes:
        """Return a packet's bytes as MP4 holds them. Raises Uncopyable."""

    def header(self, *, edges: bool) -> bytes | None:
        """Return the header of a file with the stream's packets, and with `edges` those of edges.

        None stands for the source's own header. Called before `edge`, when all packets have been
        seen. Raises Uncopyable.
        """

    def edge(self, crf: float | None) -> Edge:
        """Return an encoder whose packets match the stream's. Raises Uncopyable.

        `crf` is the quality, on the scale of the encoder, where it is known.
        """


def beside(packet: Packet) -> PacketSideData | None:
    """Return what tells beside a packet of VP8 or VP9 how transparent its picture is, if it does.

    https://wiki.webmproject.org/alpha-channel
    """
    return packet.get_sidedata(ADDED) if packet.has_sidedata(ADDED) else None


def has_alpha_beside(stream: VideoStream) -> bool:
    """Return whether a stream is one of VP8 or VP9 that tells how transparent pictures are."""
    told = {name.lower(): value for name, value in stream.metadata.items()}
    return told.get("alpha_mode") == "1" and stream.codec_context.name in DECODERS_OF_ALPHA


def units_of(packet: Packet, length_size: int) -> list[bytes]:
    """Return a packet's NAL units, each after a length of so many bytes; 0: after a start code.

    Raises Uncopyable.
    """
    data = bytes(packet)
    try:
        return list(nal.of_lengths(data, length_size) if length_size else nal.of_start_codes(data))
    except Malformed as error:
        raise Uncopyable(f"a packet of it can't be read ({error})") from error


def rate_of(stream: VideoStream) -> Fraction:
    """Return a stream's pictures a second, for what only an encoder's choices depend on."""
    return stream.guessed_rate or stream.average_rate or UNKNOWN_RATE


def encoder(
    stream: VideoStream, name: str, options: dict[str, str], tick: Fraction | None = None
) -> VideoCodecContext:
    """Return an open encoder of pictures like the stream's, on its clock or one of `tick` (s).

    Raises Uncopyable.
    """
    source = stream.codec_context
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height = source.width, source.height
    context.pix_fmt = "yuva420p" if has_alpha_beside(stream) else source.pix_fmt
    context.time_base = tick or stream.time_base
    context.framerate = rate_of(stream)
    if source.sample_aspect_ratio:
        context.sample_aspect_ratio = source.sample_aspect_ratio
    for each in COLOURS:
        setattr(context, each, getattr(source, each))
    context.options = options
    context.flags |= Flags.global_header
    try:
        context.open()
    except (av.FFmpegError, ValueError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise Uncopyable(f"pictures like its own can't be encoded: {name} says {what}") from error
    return context  # type: ignore[no-any-return]
