"""Makes one packet of two that are the fields of a picture (H.264's PAFF, as camcorders write)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice, pairwise
from statistics import median
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import Packet, Uncopyable, units_of
from cutmv.media.engine.codecs.headers import nal
from cutmv.media.engine.codecs.headers.bits import Malformed
from cutmv.media.engine.codecs.headers.h264 import (
    IDR,
    SLICE,
    SLICE_A,
    Field,
    ParameterSets,
    Sps,
    field_of,
    read_avcc,
    read_sps,
)
from cutmv.media.engine.source.file import tick_of

#: Packets by which it is seen that packets are fields.
LOOKED = 48


def pictures_of(packets: Iterable[Packet], stream: VideoStream) -> Iterator[Packet]:
    """Yield pictures of a stream's packets, each of which is at least one picture.

    A decoder gives no picture for the first of two fields, so that each packet would have to be
    known for half of one.
    """
    if stream.codec_context.name != "h264":
        yield from packets
        return
    fields = _Fields(stream)
    held: tuple[Packet, Field] | None = None
    for packet in packets:
        field = fields.of(packet)
        if held is not None:
            first, of_first = held
            held = None
            if field is not None and field.completes(of_first):
                yield _whole(first, packet)
                continue
            yield first
        if field is None or packet.is_discard:
            yield packet
        else:
            held = packet, field
    if held is not None:
        yield held[0]


def rate_of_pairs(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Return the pictures a second of a stream whose packets are fields, none of any other."""
    times: list[int] = []
    fields, first, paired = _Fields(stream), None, False
    for packet in islice(container.demux(stream), LOOKED):
        field = fields.of(packet)
        if field is not None and first is not None and field.completes(first):
            first, paired = None, True
        elif packet.pts is not None:
            first = field
            times.append(packet.pts)
    gaps = [b - a for a, b in pairwise(sorted(times)) if b > a]
    return 1 / (Fraction(median(gaps)) * tick_of(stream)) if paired and gaps else None


class _Fields:
    """Tells which packets of a stream are a field."""

    def __init__(self, stream: VideoStream) -> None:
        extradata = bytes(stream.codec_context.extradata or b"")
        self._sets, self._length_size = ParameterSets(), 0
        with suppress(Malformed):  # what can't be read is taken for whole
            if extradata[:1] == b"\1":
                self._sets, self._length_size = read_avcc(extradata)
            else:
                self._sets = self._sets.and_of(nal.of_start_codes(extradata))
        self._sps = self._read()

    def of(self, packet: Packet) -> Field | None:
        """Return the field that a packet is, none where it is a whole picture or can't be read."""
        if not packet.size or (self._sps is not None and self._sps.progressive):
            return None
        try:
            units = units_of(packet, self._length_size)
            if packet.is_keyframe:
                self._sets = self._sets.and_of(units)
                self._sps = self._read()
            slices = [unit for unit in units if unit[0] & 0x1F in (SLICE, SLICE_A, IDR)]
            found = {field_of(unit, self._sps) for unit in slices} if self._sps else set()
        except (Malformed, Uncopyable):
            return None
        return found.pop() if len(found) == 1 else None

    def _read(self) -> Sps | None:
        """Return the parameter set by which slices are read; none where it is not there."""
        with suppress(Malformed):
            return read_sps(self._sets.sps[0]) if self._sets.sps else None
        return None


def _whole(first: Packet, second: Packet) -> Packet:
    whole: Any = av.Packet(bytes(first) + bytes(second))
    whole.pts, whole.dts, whole.time_base = first.pts, first.dts, first.time_base
    whole.stream, whole.is_keyframe = first.stream, first.is_keyframe
    whole.is_corrupt = first.is_corrupt or second.is_corrupt
    return whole  # type: ignore[no-any-return]
