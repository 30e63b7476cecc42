from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import Clip, MediaInfo, OutputSpec, plan, preset
from cutmv.media.engine_request import output_of
from cutmv.media.products.quality import quality_of
from tests.unit.media.test_plan import info

SOURCE = OutputSpec("cutdown", "source", "crop", fade_s=0.5)


def film(megabits: float = 6.2, **video: object) -> MediaInfo:
    """A source of so many bits a second: 0.1 a pixel, unless others are asked for."""
    return replace(info(**video), size_bytes=int(megabits * 1e6 / 8 * 10.01))


def crf(source: MediaInfo, spec: OutputSpec = SOURCE) -> int:
    assert source.video is not None
    return quality_of(source, source.video, spec).crf


@pytest.mark.parametrize(
    ("quantizer", "expected"), [(4, 16), (18, 16), (25, 20), (28, 22), (38, 24)]
)
def test_a_picture_is_encoded_as_finely_as_its_source_within_bounds(
    quantizer: float, expected: int
) -> None:
    assert crf(film(quantizer=quantizer)) == expected


def test_pictures_that_take_many_bits_are_finer_at_one_quantizer() -> None:
    of = [crf(film(megabits, quantizer=27)) for megabits in (3.1, 6.2, 12.4, 25)]

    assert of == [23, 22, 20, 19], "x264 quantizes them more coarsely than its CRF"


def test_a_master_is_finer_whatever_its_source() -> None:
    master = preset("master").spec

    assert [crf(film(quantizer=each), master) for each in (4, 25, 38)] == [12, 16, 20]


def test_a_picture_that_is_made_smaller_is_finer_than_its_source() -> None:
    large = film(25, quantizer=27, width=3840, height=2160, coded_width=3840, coded_height=2160)
    wide, upright = OutputSpec("cutdown", "16:9", "pad"), OutputSpec("cutdown", "9:16", "crop")

    assert (crf(large), crf(large, upright), crf(large, wide)) == (22, 21, 17)
    assert crf(film(quantizer=27), upright) == 22, "what is enlarged is no coarser"


def test_what_tells_no_quantizer_is_judged_by_its_bits_and_never_coarser_than_usual() -> None:
    def of(codec: str, megabits: float) -> int:
        return crf(film(megabits, codec=codec))

    assert of("prores", 147) == of("v210", 1300) == 16
    assert of("hevc", 100) == 16
    assert of("hevc", 8) == 18
    assert of("hevc", 1) == of("av1", 0.5) == of("vp8", 2) == 20
    assert crf(replace(info(codec="hevc"), size_bytes=0)) == 20


def test_what_an_earlier_version_noted_of_an_upload_has_a_quality() -> None:
    plain = info().to_dict()
    del plain["video"]["quantizer"]

    assert crf(MediaInfo.from_dict(plain)) == 20


def test_parts_and_the_whole_are_encoded_alike() -> None:
    def arguments(**more: object) -> tuple[str, ...]:
        clip = Clip(Fraction(0), Fraction(8))
        made = plan(film(quantizer=24.0), clip, SOURCE, **more)  # type: ignore[arg-type]
        return output_of(made, Path("made.mp4")).arguments

    whole = arguments()

    assert whole[whole.index("-crf") + 1] == "20"
    assert whole == arguments(part=(Fraction(0), Fraction(4)))
