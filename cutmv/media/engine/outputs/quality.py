"""Tells the quality of a source's pictures, which its edges are encoded with."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from statistics import fmean
from typing import Any

import av
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Packet
from cutmv.media.engine.source.file import side_data

#: Decoders that tell quantizers on the scale of the CRF of their encoders, by FFmpeg's names.
TELLING = ("h264",)
#: The quality at edges, so much below the mean quantizer of the source: that leaves a step of under
#: 1 dB where a copied picture follows. And the least.
BELOW, LEAST = 8.0, 1.0


def quality(stream: VideoStream, packets: Iterable[Packet]) -> float | None:
    """Return the quality at which edges beside these packets are encoded, as x264's CRF.

    None stands for a codec whose decoder does not tell them.
    """
    source = stream.codec_context
    if source.name not in TELLING:
        return None
    # One thread: with more, a picture may be given while its last quantizers are being decoded.
    context: Any = av.CodecContext.create(source.name, "r")
    context.extradata, context.thread_count = source.extradata, 1
    context.options = {"export_side_data": "venc_params"}
    found = []
    for packet in packets:
        with suppress(av.FFmpegError):
            found += [_quantizer(frame) for frame in context.decode(packet)]
    known = [each for each in found if each is not None]
    return max(LEAST, fmean(known) - BELOW) if known else None


def _quantizer(frame: VideoFrame) -> float | None:
    """Return the mean quantizer of a picture, by `AVVideoEncParams` of libavutil."""
    data = side_data(frame, Type.VIDEO_ENC_PARAMS)
    if data is None:
        return None
    blocks, offset, size, _, base = struct.unpack_from("I4xQQii", data)
    deltas = [struct.unpack_from("i", data, offset + at * size + 16)[0] for at in range(blocks)]
    return float(base + (fmean(deltas) if deltas else 0.0))
