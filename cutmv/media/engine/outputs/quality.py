"""Tells the quality of a source's pictures, which its edges are encoded with."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from statistics import fmean

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Packet
from cutmv.media.engine.source.file import decode, forget, side_data

#: The option by which a decoder tells the quantizers of its pictures.
TELL_QUANTIZERS = {"export_side_data": "venc_params"}
#: The quality at edges, so much below the mean quantizer of the source: that leaves a step of under
#: 1 dB where a copied picture follows. And the least.
BELOW, LEAST = 8.0, 1.0


def quality(stream: VideoStream, packets: Iterable[Packet]) -> float | None:
    """Return the quality at which edges beside these packets are encoded, as x264's CRF.

    None stands for a codec whose decoder does not tell its quantizers.
    """
    forget(stream)
    found = []
    for packet in packets:
        for frame in decode(stream, packet):
            quantizer = _quantizer(frame)
            if quantizer is not None:
                found.append(quantizer)
    forget(stream)
    return max(LEAST, fmean(found) - BELOW) if found else None


def _quantizer(frame: VideoFrame) -> float | None:
    """Return the mean quantizer of a picture, by `AVVideoEncParams` of libavutil."""
    data = side_data(frame, Type.VIDEO_ENC_PARAMS)
    if data is None:
        return None
    blocks, offset, size, _, base = struct.unpack_from("I4xQQii", data)
    deltas = [struct.unpack_from("i", data, offset + at * size + 16)[0] for at in range(blocks)]
    return float(base + (fmean(deltas) if deltas else 0.0))
