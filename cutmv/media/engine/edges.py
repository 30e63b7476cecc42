"""Decodes the pictures at a clip's edges."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from statistics import fmean

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Packet
from cutmv.media.engine.source import decode, side_data

#: The option by which a decoder tells the quantizers of its pictures.
TELL_QUANTIZERS = {"export_side_data": "venc_params"}
#: The quality at edges, so much below the mean quantizer of the source: that leaves a step of under
#: 1 dB where a copied picture follows. And the least.
BELOW, LEAST = 8.0, 1.0


def decoded(
    stream: VideoStream,
    packets: Iterable[Packet],
    wanted: set[int],
    time_of: Callable[[VideoFrame], int | None],
) -> Iterator[VideoFrame]:
    """Decode packets until the pictures at the times `wanted` are there, and yield these.

    `time_of` tells when a picture is shown, which becomes its `pts`. Times that were not found are
    left in `wanted`.
    """
    _forget(stream)
    for packet in packets:
        yield from _wanted(decode(stream, packet), wanted, time_of)
        if not wanted:
            break
    else:
        yield from _wanted(decode(stream, None), wanted, time_of)
    _forget(stream)


def _wanted(
    frames: Iterable[VideoFrame], wanted: set[int], time_of: Callable[[VideoFrame], int | None]
) -> Iterator[VideoFrame]:
    for frame in frames:
        at = time_of(frame)
        if at is not None and at in wanted:
            wanted.discard(at)
            frame.pts = at
            yield frame


def _forget(stream: VideoStream) -> None:
    if stream.codec_context.is_open:
        stream.codec_context.flush_buffers()


def quality(stream: VideoStream, packets: Iterable[Packet]) -> float | None:
    """Return the quality at which edges beside these packets are encoded, as x264's CRF.

    None stands for a codec whose decoder does not tell its quantizers.
    """
    _forget(stream)
    found = []
    for packet in packets:
        for frame in decode(stream, packet):
            quantizer = _quantizer(frame)
            if quantizer is not None:
                found.append(quantizer)
    _forget(stream)
    return max(LEAST, fmean(found) - BELOW) if found else None


def _quantizer(frame: VideoFrame) -> float | None:
    """Return the mean quantizer of a picture, by `AVVideoEncParams` of libavutil."""
    data = side_data(frame, Type.VIDEO_ENC_PARAMS)
    if data is None:
        return None
    blocks, offset, size, _, base = struct.unpack_from("I4xQQii", data)
    deltas = [struct.unpack_from("i", data, offset + at * size + 16)[0] for at in range(blocks)]
    return float(base + (fmean(deltas) if deltas else 0.0))
