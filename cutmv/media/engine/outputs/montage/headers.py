"""The header of a film of many clips, which has the parameter sets of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from cutmv.media.engine.codecs.headers import hevc
from cutmv.media.engine.codecs.headers.bits import Malformed
from cutmv.media.engine.codecs.headers.h264 import (
    ParameterSets,
    pps_ids,
    read_avcc,
    read_sps,
    write_avcc,
)
from cutmv.media.engine.outputs.joining import Unjoinable

T = TypeVar("T")
#: Why clips can't have one header.
NOT_ALIKE = "the clips are not encoded alike"


def joined(codec: str, headers: Sequence[bytes]) -> bytes:
    """Return the header of a film whose clips have these.

    Raises Unjoinable where one of their parameter sets has the id of another, or a codec has none.
    """
    if len(set(headers)) == 1:
        return headers[0]
    try:
        if codec == "h264":
            return _avcc(headers)
        if codec == "hevc":
            return _hvcc(headers)
    except Malformed as error:
        raise Unjoinable(f"a header of it can't be read ({error})") from error
    raise Unjoinable(NOT_ALIKE)


def _avcc(headers: Sequence[bytes]) -> bytes:
    read = [read_avcc(header) for header in headers]
    sets = ParameterSets()
    for each, _ in read:
        sets = sets.and_of([*each.sps, *each.pps])
    _refuse_twice(read_sps(unit).sps_id for unit in sets.sps)
    _refuse_twice(pps_ids(unit)[0] for unit in sets.pps)
    lengths = {length_size for _, length_size in read}
    if len(lengths) > 1:
        raise Unjoinable(NOT_ALIKE)
    return write_avcc(sets, *lengths)


def _hvcc(headers: Sequence[bytes]) -> bytes:
    boxes = [hevc.read_hvcc(header) for header in headers]
    sets = hevc.ParameterSets()
    for box in boxes:
        sets = sets.and_of(box.units)
    _refuse_twice(hevc.vps_id(unit) for unit in sets.of(hevc.VPS))
    _refuse_twice(hevc.read_sps(unit).sps_id for unit in sets.of(hevc.SPS))
    _refuse_twice(hevc.pps_ids(unit)[0] for unit in sets.of(hevc.PPS))
    return hevc.write_hvcc(boxes[0].fixed, [*sets.units, *boxes[0].others])


def _refuse_twice(ids: Iterable[T]) -> None:
    found = list(ids)
    if len(set(found)) < len(found):
        raise Unjoinable(NOT_ALIKE)
