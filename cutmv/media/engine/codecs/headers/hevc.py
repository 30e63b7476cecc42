"""Reads HEVC headers, and writes those that edges need (ITU-T H.265, clause 7.3; ISO 14496-15).

As for H.264, what is encoded beside a source has parameter sets of its own. x265 always gives them
the id 0, so that ids are rewritten here, in parameter sets and in slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cutmv.media.engine.codecs.headers.bits import (
    BitReader,
    BitWriter,
    Malformed,
    escaped,
    unescaped,
)

#: Types of NAL units (table 7-1).
BLA_FIRST, BLA_LAST, IDR_W_RADL, IDR_N_LP, CRA, IRAP_LAST = 16, 18, 19, 20, 21, 23
VPS, SPS, PPS, END_OF_SEQUENCE, VCL_LAST = 32, 33, 34, 36, 31
#: Those of parameter sets.
PARAMETER_SETS = (VPS, SPS, PPS)
#: The end of a sequence: the picture that follows needs nothing before it (8.1.3).
END_OF_SEQUENCE_UNIT = bytes((END_OF_SEQUENCE << 1, 1))
#: Ids of a picture's parameter set whose code is nine bits long: one byte longer than that of 0, so
#: that the rest of a slice stays aligned as it is.
LONG_IDS = range(15, 31)
#: Bits of a profile, tier and level, for the stream and for each of its sublayers (7.3.3).
PROFILE_BITS, LEVEL_BITS = 88, 8


def kind(unit: bytes) -> int:
    """Return a NAL unit's type."""
    return unit[0] >> 1 & 0x3F


@dataclass(frozen=True, slots=True)
class Sps:
    """What is read of a sequence parameter set.

    `buffering` holds, for the highest sublayer, how many pictures a decoder keeps, how many it
    shows later than others, and for how long, as they are coded. `id_at` and the others are bits.
    """

    vps_id: int
    sps_id: int
    sublayers: int
    level: int
    chroma: int
    luma_bits: int
    chroma_bits: int
    buffering: tuple[int, int, int]
    id_at: int
    after_id: int
    buffering_at: int
    after_buffering: int


def read_sps(unit: bytes) -> Sps:
    """Read a sequence parameter set, a NAL unit with its header. Raises Malformed."""
    if len(unit) < 16 or kind(unit) != SPS:
        raise Malformed("no sequence parameter set")
    rbsp = unescaped(unit)
    r = BitReader(rbsp)
    r.skip(16)
    vps_id, sublayers = r.u(4), r.u(3)
    r.skip(1)
    _skip_profile(r, sublayers)
    id_at = r.at
    sps_id = r.ue(15)
    after_id = r.at
    chroma = r.ue(3)
    if chroma == 3:
        r.skip(1)
    r.ue(65_535)
    r.ue(65_535)
    if r.flag():
        for _ in range(4):
            r.ue(65_535)
    luma_bits, chroma_bits = 8 + r.ue(8), 8 + r.ue(8)
    r.ue(12)
    buffering_at = r.at
    each_layer = r.flag()
    buffering = (0, 0, 0)
    for _ in range(sublayers + 1 if each_layer else 1):
        buffering = (r.ue(15), r.ue(15), r.ue())
    return Sps(
        vps_id,
        sps_id,
        sublayers,
        rbsp[14],
        chroma,
        luma_bits,
        chroma_bits,
        buffering,
        id_at,
        after_id,
        buffering_at,
        r.at,
    )


def _skip_profile(r: BitReader, sublayers: int) -> None:
    r.skip(PROFILE_BITS + LEVEL_BITS)
    if not sublayers:
        return
    present = [(r.flag(), r.flag()) for _ in range(sublayers)]
    r.skip(2 * (8 - sublayers))
    for profile, level in present:
        r.skip(PROFILE_BITS * profile + LEVEL_BITS * level)


def pps_ids(unit: bytes) -> tuple[int, int]:
    """Return the ids of a picture parameter set and of the sequence's. Raises Malformed."""
    r = BitReader(unescaped(unit[:16]))
    r.skip(16)
    return r.ue(63), r.ue(15)


def vps_id(unit: bytes) -> int:
    """Return a video parameter set's id."""
    if len(unit) < 3:
        raise Malformed("a video parameter set is too short")
    return unit[2] >> 4


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """The parameter sets of a stream, each a NAL unit with its header."""

    units: tuple[bytes, ...] = ()

    def and_of(self, units: Iterable[bytes]) -> ParameterSets:
        """Return these and those among `units`, each once."""
        found = list(self.units)
        found += [u for u in units if kind(u) in PARAMETER_SETS and u not in found]
        return ParameterSets(tuple(dict.fromkeys(found)))

    def of(self, wanted: int) -> tuple[bytes, ...]:
        """Return the parameter sets of one type."""
        return tuple(unit for unit in self.units if kind(unit) == wanted)

    def free_ids(self) -> Ids | None:
        """Return ids that no parameter set has; none where all are taken."""
        vps = {vps_id(unit) for unit in self.of(VPS)}
        sps = {read_sps(unit).sps_id for unit in self.of(SPS)}
        pps = {pps_ids(unit)[0] for unit in self.of(PPS)}
        try:
            return Ids(
                next(each for each in range(15, -1, -1) if each not in vps),
                next(each for each in range(15, -1, -1) if each not in sps),
                next(each for each in LONG_IDS if each not in pps),
            )
        except StopIteration:
            return None


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of the parameter sets of what is encoded."""

    vps: int
    sps: int
    pps: int

    def given_to(self, unit: bytes, source: Sps) -> bytes:
        """Return one of an encoder's NAL units with these ids, in place of 0.

        A sequence's gets the level of `source` and room for as many pictures, and tells that none
        is shown later than others: at a join a decoder may throw away what it has not shown yet
        (C.5.2.2). Raises Malformed.
        """
        rbsp = unescaped(unit)
        what = kind(unit)
        if what == VPS:
            return escaped(rbsp[:2] + bytes((self.vps << 4 | rbsp[2] & 15,)) + rbsp[3:])
        if what == SPS:
            return self._sps(rbsp, read_sps(unit), source)
        if what == PPS:
            r = BitReader(rbsp)
            r.skip(16)
            r.ue(63)
            r.ue(15)
            w = BitWriter()
            w.copy(rbsp, 0, 16)
            w.ue(self.pps)
            w.ue(self.sps)
            w.copy(rbsp, r.at, _end(rbsp))
            return escaped(w.finished())
        if what <= VCL_LAST:
            return escaped(self._slice(rbsp, what))
        return unit

    def _sps(self, rbsp: bytes, own: Sps, source: Sps) -> bytes:
        w = BitWriter()
        w.copy(rbsp, 0, 16)
        w.u(self.vps, 4)
        w.copy(rbsp, 20, own.id_at)
        w.ue(self.sps)
        w.copy(rbsp, own.after_id, own.buffering_at)
        w.u(0, 1)
        for value in (source.buffering[0], 0, 0):
            w.ue(value)
        w.copy(rbsp, own.after_buffering, _end(rbsp))
        written = bytearray(w.finished())
        written[14] = source.level
        return escaped(bytes(written))

    def _slice(self, rbsp: bytes, what: int) -> bytes:
        before = 16 + (2 if BLA_FIRST <= what <= IRAP_LAST else 1)
        r = BitReader(rbsp)
        r.skip(before)
        if not r.flag():
            raise Malformed("a slice does not use the parameter set 0")
        w = BitWriter()
        w.copy(rbsp, 0, before)
        w.ue(self.pps)
        w.copy(rbsp, before + 1, 8 * len(rbsp))
        return w.aligned()


def _end(rbsp: bytes) -> int:
    """Return the bit at which an RBSP's trailing bits begin."""
    bits = int.from_bytes(rbsp, "big")
    if not bits:
        raise Malformed("a header has no end")
    return 8 * len(rbsp) - (bits & -bits).bit_length()


@dataclass(frozen=True, slots=True)
class Hvcc:
    """`hvcC`: its fixed part, and the parameter sets and other units that it holds."""

    fixed: bytes
    units: tuple[bytes, ...]

    @property
    def length_size(self) -> int:
        """The bytes of a length in packets."""
        return (self.fixed[21] & 3) + 1

    @property
    def others(self) -> list[bytes]:
        """The units that are no parameter sets."""
        return [unit for unit in self.units if kind(unit) not in PARAMETER_SETS]


def read_hvcc(extradata: bytes) -> Hvcc:
    """Read `hvcC`. Raises Malformed."""
    if len(extradata) < 23 or extradata[0] not in (0, 1):
        raise Malformed("no hvcC box")
    return Hvcc(extradata[:22], tuple(_units(extradata)))


def fixed_part(sps_unit: bytes) -> bytes:
    """Return the fixed part of `hvcC` for a stream that has none, by its parameter set."""
    sps, rbsp = read_sps(sps_unit), unescaped(sps_unit)
    formats = (0xFC, 0xFC | sps.chroma, 0xF8 | sps.luma_bits - 8, 0xF8 | sps.chroma_bits - 8)
    layers = (sps.sublayers + 1) << 3 | (rbsp[2] & 1) << 2 | 3
    return bytes((1, *rbsp[3:15], 0xF0, 0, *formats, 0, 0, layers))


def _units(extradata: bytes) -> Iterator[bytes]:
    at = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            unit = extradata[at + 2 : at + 2 + size]
            if size < 2 or len(unit) != size:
                raise Malformed("hvcC ends too soon")
            yield unit
            at += 2 + size


def write_hvcc(fixed: bytes, units: Iterable[bytes]) -> bytes:
    """Write `hvcC`, whose parameter sets are complete: packets need hold none."""
    arrays: dict[int, list[bytes]] = {}
    for unit in units:
        arrays.setdefault(kind(unit), []).append(unit)
    parts = [fixed, bytes((len(arrays),))]
    for what, each in sorted(arrays.items()):
        complete = 0x80 if what in PARAMETER_SETS else 0
        parts += [bytes((complete | what,)), len(each).to_bytes(2, "big")]
        parts += [len(unit).to_bytes(2, "big") + unit for unit in each]
    return b"".join(parts)
