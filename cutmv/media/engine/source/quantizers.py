"""Reads how coarsely a source's pictures are quantized, where their decoder tells."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from statistics import fmean
from typing import Any

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Packet, rate_of
from cutmv.media.engine.source.file import rewind, side_data, tick_of

#: Decoders that tell quantizers on the scale of x264's CRF, by FFmpeg's names.
TELLING = ("h264",)
#: Pictures of one place that are looked at; places in a file beside its start, as parts of its
#: length; and pixels at most, beside those of the start.
LOOKED_AT, PLACES, MOST_PIXELS = 3, (Fraction(1, 3), Fraction(2, 3)), 16_000_000
#: Packets in which a place's key picture is searched.
SEARCHED = 300
#: The part of the mean bytes of a picture below which those after a key are black, or stand still,
#: and tell nothing.
LEAST_BYTES = Fraction(1, 16)


def mean_quantizer(stream: VideoStream, packets: Iterable[Packet]) -> float | None:
    """Return the mean quantizer of the pictures in these packets, the first of which is a key.

    None stands for a codec whose decoder does not tell it, and for what can't be decoded.
    """
    source = stream.codec_context
    if source.name not in TELLING:
        return None
    # One thread: with more, a picture may be given while its last quantizers are being decoded.
    context: Any = av.CodecContext.create(source.name, "r")
    context.extradata, context.thread_count = source.extradata, 1
    # Quantizers are read before a picture is smoothed, which nobody looks at.
    context.options = {"export_side_data": "venc_params", "skip_loop_filter": "all"}
    found = []
    for packet in (*packets, None):
        with suppress(av.FFmpegError):
            found += [_quantizer(frame) for frame in context.decode(packet)]
    known = [each for each in found if each is not None]
    return fmean(known) if known else None


def quantizer_of(container: InputContainer, stream: VideoStream, *, all_over: bool) -> float | None:
    """Return the mean quantizer of a few of a source's pictures; none where it is not told.

    They are its first and, `all_over`, others, where an index tells where these are.
    """
    if stream.codec_context.name not in TELLING:
        return None
    least, seen, found = _least_bytes(container, stream), set[int | None](), []
    for place in _places(container, stream, all_over=all_over):
        rewind(container, stream, place)
        packets = list(islice(_from_key(container, stream), LOOKED_AT))
        if not packets or packets[0].dts in seen:
            continue
        seen.add(packets[0].dts)
        if all(each.size >= least for each in packets[1:]):
            found.append(mean_quantizer(stream, packets))
    known = [each for each in found if each is not None]
    return round(fmean(known), 1) if known else None


def _places(
    container: InputContainer, stream: VideoStream, *, all_over: bool
) -> Iterator[int | None]:
    """Yield the places to look at, in ticks; none is the file's start."""
    yield None
    pixels = LOOKED_AT * stream.codec_context.width * stream.codec_context.height
    if not all_over or not container.duration or not pixels:
        return
    rewind(container, stream, None)  # which has a Matroska's index read
    index, length = stream.index_entries, container.duration / (av.time_base * tick_of(stream))
    known = index[len(index) - 1].timestamp if len(index) else 0
    for part in PLACES[: MOST_PIXELS // pixels]:
        place = (stream.start_time or 0) + round(length * part)
        if place < known:
            yield place


def _from_key(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Yield the packets from the next key picture on, if it is near."""
    packets = (packet for packet in container.demux(stream) if packet.size)
    for packet in islice(packets, SEARCHED):
        if packet.is_keyframe:
            yield packet
            yield from packets
            return


def _least_bytes(container: InputContainer, stream: VideoStream) -> float:
    """Return the bytes that a picture has at least which tells something."""
    bits = stream.codec_context.bit_rate or container.bit_rate or 0
    return float(bits / 8 / rate_of(stream) * LEAST_BYTES)


def _quantizer(frame: VideoFrame) -> float | None:
    """Return the mean quantizer of a picture, by `AVVideoEncParams` of libavutil."""
    data = side_data(frame, Type.VIDEO_ENC_PARAMS)
    if data is None:
        return None
    blocks, offset, size, _, base = struct.unpack_from("I4xQQii", data)
    # Of each block: its place, its size, and by how much its quantizer differs (an int each).
    deltas = array("i", data[offset : offset + blocks * size])[4 :: size // 4]
    return float(base + (fmean(deltas) if deltas else 0.0))
