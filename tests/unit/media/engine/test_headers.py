"""Headers of H.264 and HEVC, by the encoders' own and by bytes of nobody's making."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import pytest
from av.codec.context import Flags
from hypothesis import given
from hypothesis import strategies as st

from cutmv.media.engine.codecs.headers import h264, hevc, nal
from cutmv.media.engine.codecs.headers.bits import (
    BitReader,
    BitWriter,
    Malformed,
    escaped,
    unescaped,
)


def header(name: str, **options: str) -> list[bytes]:
    """The parameter sets of an encoder."""
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = 320, 180, options.pop("pix_fmt", "yuv420p")
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.flags |= Flags.global_header
    context.options = options
    context.open()
    return list(nal.of_start_codes(bytes(context.extradata)))


@given(st.binary(max_size=200))
def test_what_is_escaped_is_as_it_was_and_holds_no_start_code(data: bytes) -> None:
    assert unescaped(escaped(data)) == data
    assert not any(b"\0\0" + bytes((n,)) in escaped(data) for n in range(3))


@given(st.lists(st.integers(0, 2**31), max_size=20))
def test_numbers_are_read_as_they_were_written(values: list[int]) -> None:
    writer = BitWriter()
    for value in values:
        writer.ue(value)
    reader = BitReader(writer.finished())
    assert [reader.ue() for _ in values] == values


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "ultrafast"},
        {"x264-params": "bframes=3:b-pyramid=normal:ref=4"},
        {"profile": "baseline"},
        {"x264-params": "colorprim=bt709:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900"},
        {"pix_fmt": "yuv422p10le", "x264-params": "tff=1"},
    ],
)
def test_an_h264_header_tells_the_reordering_that_it_is_given(options: dict[str, str]) -> None:
    sps, pps = (u for u in header("libx264", **options) if u[0] & 0x1F in (h264.SPS, h264.PPS))
    read = h264.read_sps(sps)
    for wanted in (h264.Reordering(2, 5), None):
        changed = h264.read_sps(h264.with_reordering(sps, wanted, 41))
        assert (changed.reordering, changed.level) == (wanted, 41)
        assert (changed.profile, changed.sps_id, changed.chroma, changed.luma_bits) == (
            read.profile,
            read.sps_id,
            read.chroma,
            read.luma_bits,
        )
    assert h264.pps_ids(pps) == (0, 0)
    assert h264.ParameterSets((sps,), (pps,)).free_id() == 31


def test_an_avcc_is_read_as_it_was_written() -> None:
    sets = h264.ParameterSets().and_of(header("libx264", **{"x264-params": "sps-id=3"}))
    assert h264.read_avcc(h264.write_avcc(sets, 2)) == (sets, 2)


def test_hevc_parameter_sets_get_the_ids_that_they_are_given() -> None:
    units = header("libx265", **{"x265-params": "log-level=error"})
    sets = hevc.ParameterSets().and_of(units)
    source = hevc.read_sps(sets.of(hevc.SPS)[0])
    ids = sets.free_ids()
    assert ids == hevc.Ids(15, 15, 15)
    own = hevc.ParameterSets().and_of(ids.given_to(unit, source) for unit in sets.units)
    changed = hevc.read_sps(own.of(hevc.SPS)[0])
    assert hevc.vps_id(own.of(hevc.VPS)[0]) == changed.vps_id == changed.sps_id == 15
    assert hevc.pps_ids(own.of(hevc.PPS)[0]) == (15, 15)
    assert changed.buffering == (source.buffering[0], 0, 0)
    fixed = hevc.fixed_part(sets.of(hevc.SPS)[0])
    box = hevc.read_hvcc(hevc.write_hvcc(fixed, [*sets.units, *own.units]))
    assert set(box.units) == {*sets.units, *own.units}
    assert box.length_size == 4


@given(data=st.binary(max_size=120))
def test_bytes_of_nobody_s_making_are_refused_and_nothing_else(data: bytes) -> None:
    readers = [
        lambda: h264.read_sps(b"\x67" + data),
        lambda: h264.pps_ids(b"\x68" + data),
        lambda: h264.read_avcc(b"\1" + data),
        lambda: hevc.read_sps(b"\x42\1" + data),
        lambda: hevc.pps_ids(b"\x44\1" + data),
        lambda: hevc.read_hvcc(b"\1" + data),
        lambda: list(nal.of_lengths(data, 4)),
        lambda: list(nal.of_start_codes(data)),
        lambda: hevc.Ids(1, 1, 15).given_to(b"\x26\1" + data, SOURCE),
    ]
    for read in readers:
        with suppress(Malformed):
            read()


SOURCE = hevc.Sps(0, 0, 0, 93, 1, 8, 8, (4, 2, 0), 0, 0, 0, 0)
