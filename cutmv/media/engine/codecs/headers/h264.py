"""Reads H.264 headers, and writes those that edges need (ITU-T H.264, clause 7.3; ISO 14496-15).

A source's packets keep their parameter sets; those of the pictures encoded beside them have ids of
their own, so that a file holds both and no decoder takes one for the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cutmv.media.engine.codecs.headers.bits import (
    BitReader,
    BitWriter,
    Malformed,
    escaped,
    unescaped,
)

#: Types of NAL units (table 7-1).
SLICE, SLICE_A, IDR, SEI, SPS, PPS, END_OF_SEQUENCE = 1, 2, 5, 6, 7, 8, 10
#: Bytes of a slice in which all stands that is read of its header.
SLICE_HEADER_BYTES = 32
#: Ids of parameter sets that x264 can be told to use, by table 7.4.2.1.
MAX_SPS_ID = 31
#: Profiles whose SPS tells the format of its chroma (7.3.2.1.1).
HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
#: Profiles of whose parameter sets `avcC` repeats a part (ISO 14496-15, 5.3.3.1.2).
AVCC_EXTENDED = frozenset({100, 110, 122, 144, 244, 44})


@dataclass(frozen=True, slots=True)
class Reordering:
    """How many pictures a decoder keeps, and how many it may show later than others (E.2.1)."""

    reordered: int
    buffered: int


@dataclass(frozen=True, slots=True)
class Sps:
    """What is read of a sequence parameter set.

    `frame_bits` are those of a frame's number in slices; with `planes` each colour has slices of
    its own. `vui_at` and `restriction_at` are the bits at which the flags of the VUI and of its
    bitstream restriction stand; the second is none without a VUI.
    """

    profile: int
    constraints: int
    level: int
    sps_id: int
    chroma: int
    luma_bits: int
    chroma_bits: int
    planes: bool
    frame_bits: int
    progressive: bool
    references: int
    reordering: Reordering | None
    vui_at: int
    restriction_at: int | None


def read_sps(unit: bytes) -> Sps:
    """Read a sequence parameter set, a NAL unit with its header. Raises Malformed."""
    rbsp = unescaped(unit)
    r = BitReader(rbsp)
    if r.u(8) & 0x1F != SPS:
        raise Malformed("no sequence parameter set")
    profile, constraints, level = r.u(8), r.u(8), r.u(8)
    sps_id = r.ue(MAX_SPS_ID)
    chroma, planes, luma_bits, chroma_bits = 1, False, 8, 8
    if profile in HIGH_PROFILES:
        chroma, planes, luma_bits, chroma_bits = _formats(r)
    frame_bits = r.ue(12) + 4
    _skip_order(r)
    references = r.ue(16)
    r.skip(1)
    r.ue(65_535)
    r.ue(65_535)
    progressive = r.flag()
    if not progressive:
        r.skip(1)
    r.skip(1)
    if r.flag():
        for _ in range(4):
            r.ue(65_535)
    vui_at = r.at
    reordering, restriction_at = None, None
    if r.flag():
        _skip_vui(r)
        restriction_at = r.at
        if r.flag():
            r.skip(1)
            for _ in range(4):
                r.ue()
            reordering = Reordering(r.ue(16), r.ue(16))
    return Sps(
        profile,
        constraints,
        level,
        sps_id,
        chroma,
        luma_bits,
        chroma_bits,
        planes,
        frame_bits,
        progressive,
        references,
        reordering,
        vui_at,
        restriction_at,
    )


@dataclass(frozen=True, slots=True)
class Field:
    """One of the two fields of a frame: the frame's number, and whether it is the lower field."""

    frame: int
    lower: bool

    def completes(self, first: Field) -> bool:
        """Whether it is the second field of a frame of which another is the first (7.4.1.2.4)."""
        return self.frame == first.frame and self.lower != first.lower


def field_of(unit: bytes, sps: Sps) -> Field | None:
    """Return the field that a slice is of, none where it is of a whole frame (7.3.3).

    Raises Malformed.
    """
    if sps.progressive:
        return None
    r = BitReader(unescaped(unit[:SLICE_HEADER_BYTES]))
    r.skip(8)
    r.ue()
    r.ue(9)
    r.ue(255)
    if sps.planes:
        r.skip(2)
    frame = r.u(sps.frame_bits)
    return Field(frame, r.flag()) if r.flag() else None


def _formats(r: BitReader) -> tuple[int, bool, int, int]:
    """Read the format of the chroma, and the depths of luma and chroma (7.3.2.1.1)."""
    chroma = r.ue(3)
    planes = chroma == 3 and r.flag()
    depths = 8 + r.ue(6), 8 + r.ue(6)
    r.skip(1)
    if r.flag():
        for number in range(8 if chroma != 3 else 12):
            if r.flag():
                _skip_scaling_list(r, 16 if number < 6 else 64)
    return (chroma, planes, *depths)


def _skip_order(r: BitReader) -> None:
    """Read how pictures' order of showing is coded."""
    order = r.ue(2)
    if order == 0:
        r.ue(12)
    elif order == 1:
        r.skip(1)
        r.se()
        r.se()
        for _ in range(r.ue(255)):
            r.se()


def _skip_scaling_list(r: BitReader, size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following:
            following = (last + r.se()) % 256
        last = following or last


def _skip_vui(r: BitReader) -> None:
    """Read a VUI up to the flag of its bitstream restriction (E.1.1)."""
    if r.flag() and r.u(8) == 255:
        r.skip(32)
    if r.flag():
        r.skip(1)
    if r.flag():
        r.skip(4)
        if r.flag():
            r.skip(24)
    if r.flag():
        r.ue(5)
        r.ue(5)
    if r.flag():
        r.skip(65)
    hrds = 0
    for _ in range(2):
        if r.flag():
            hrds += 1
            count = r.ue(31) + 1
            r.skip(8)
            for _ in range(count):
                r.ue()
                r.ue()
                r.skip(1)
            r.skip(20)
    if hrds:
        r.skip(1)
    r.skip(1)


def with_reordering(unit: bytes, reordering: Reordering | None, level: int) -> bytes:
    """Return a sequence parameter set that tells `level`, and `reordering` or nothing of it.

    A decoder may throw pictures away at a join where one side needs fewer than the other (C.4.4).
    Raises Malformed.
    """
    sps, rbsp = read_sps(unit), unescaped(unit)
    w = BitWriter()
    if sps.restriction_at is not None:
        w.copy(rbsp, 0, sps.restriction_at)
    else:
        w.copy(rbsp, 0, sps.vui_at)
        w.u(int(reordering is not None), 1)
        w.u(0, 8 if reordering is not None else 0)
    if reordering is not None:
        w.u(1, 1)
        w.u(1, 1)
        for value in (0, 0, 16, 16, reordering.reordered, reordering.buffered):
            w.ue(value)
    elif sps.restriction_at is not None:
        w.u(0, 1)
    written = bytearray(w.finished())
    written[3] = level
    return escaped(bytes(written))


def pps_ids(unit: bytes) -> tuple[int, int]:
    """Return the ids of a picture parameter set and of the sequence's. Raises Malformed."""
    r = BitReader(unescaped(unit[:16]))
    if r.u(8) & 0x1F != PPS:
        raise Malformed("no picture parameter set")
    return r.ue(255), r.ue(MAX_SPS_ID)


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """The parameter sets of a stream, each a NAL unit with its header."""

    sps: tuple[bytes, ...] = ()
    pps: tuple[bytes, ...] = ()

    def and_of(self, units: Iterable[bytes]) -> ParameterSets:
        """Return these and those among `units`, each once."""
        sps, pps = list(self.sps), list(self.pps)
        for unit in units:
            kind = unit[0] & 0x1F
            if kind == SPS and unit not in sps:
                sps.append(unit)
            elif kind == PPS and unit not in pps:
                pps.append(unit)
        return ParameterSets(tuple(sps), tuple(pps))

    def free_id(self) -> int | None:
        """Return an id that neither a sequence's nor a picture's has, none where all are taken."""
        taken = {read_sps(unit).sps_id for unit in self.sps}
        taken |= {each for unit in self.pps for each in pps_ids(unit)}
        return next((each for each in range(MAX_SPS_ID, -1, -1) if each not in taken), None)


def read_avcc(extradata: bytes) -> tuple[ParameterSets, int]:
    """Read `avcC`: its parameter sets, and the bytes of a length in packets. Raises Malformed."""
    if len(extradata) < 7 or extradata[0] != 1:
        raise Malformed("no avcC box")
    length_size = (extradata[4] & 3) + 1
    at, lists = 5, []
    for mask in (0x1F, 0xFF):
        if at >= len(extradata):
            raise Malformed("avcC ends too soon")
        count, units = extradata[at] & mask, []
        at += 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            unit = extradata[at + 2 : at + 2 + size]
            if size == 0 or len(unit) != size:
                raise Malformed("avcC ends too soon")
            units.append(unit)
            at += 2 + size
        lists.append(units)
    return ParameterSets().and_of([*lists[0], *lists[1]]), length_size


def write_avcc(sets: ParameterSets, length_size: int = 4) -> bytes:
    """Write `avcC`. The first sequence's profile and level are the file's."""
    first = read_sps(sets.sps[0])
    parts = [
        bytes((1, first.profile, first.constraints, first.level, 0xFC | (length_size - 1))),
        bytes((0xE0 | len(sets.sps),)),
        *(len(unit).to_bytes(2, "big") + unit for unit in sets.sps),
        bytes((len(sets.pps),)),
        *(len(unit).to_bytes(2, "big") + unit for unit in sets.pps),
    ]
    if first.profile in AVCC_EXTENDED:
        formats = (0xFC | first.chroma, 0xF8 | first.luma_bits - 8, 0xF8 | first.chroma_bits - 8)
        parts.append(bytes((*formats, 0)))
    return b"".join(parts)
