"""What is made of a clip, by plan: shapes, fades, rates, loops, presets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.media import Clip, MediaError, OutputSpec, RenderPlan, plan, preset, presets
from tests.unit.media.test_plan import clip, info

REELS = OutputSpec("cutdown", "9:16", "crop")


def planned(spec: OutputSpec, seconds: str = "4", **video: Any) -> RenderPlan:
    found = replace(info(duration_s=1000.0, **video), duration_s=1000.0)
    return plan(found, clip("0", seconds), spec)


def crops(filters: str) -> tuple[list[int], list[int], list[int]]:
    """What is cropped of the source, the size it is scaled to, and what is cropped of that."""
    found = re.match(
        r"[^,]*,(?:crop=([\d:]+):exact=1,)?scale=(\d+:\d+):[^,]*(?:,crop=([\d:]+))?,", filters
    )
    assert found, filters
    before, size, after = (
        [int(n) for n in each.split(":")] if each else [] for each in found.groups()
    )
    return before, size, after


@pytest.mark.parametrize(
    ("centre", "left"),
    [((0.5, 0.5), 1167), ((0.0, 0.5), 0), ((1.0, 0.5), 2334), ((0.25, 0.9), 314)],
)
def test_a_crop_has_its_centre_where_it_is_wanted_as_far_as_the_picture_goes(
    centre: tuple[float, float], left: int
) -> None:
    before, size, after = crops(planned(replace(REELS, centre=centre)).filters)

    # 1920x1080 that covers 1080x1920 is 3414x1920.
    assert before[2] * 3414 / 1920 + after[2] == pytest.approx(left, abs=0.5)
    assert size[0] == pytest.approx(before[0] * 3414 / 1920, abs=2)


@given(
    width=st.integers(16, 8000),
    height=st.integers(16, 8000),
    aspect=st.sampled_from(["16:9", "9:16", "1:1", "4:5"]),
    centre=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_what_is_not_kept_of_a_picture_is_cropped_away_before_the_rest_is_scaled(
    width: int, height: int, aspect: Any, centre: tuple[float, float]
) -> None:
    spec = OutputSpec("cutdown", aspect, "crop", centre)
    made = planned(spec, width=width, height=height, coded_width=width, coded_height=height)

    before, size, after = crops(made.filters)

    kept = before or [width, height, 0, 0]
    assert kept[0] + kept[2] <= width
    assert kept[1] + kept[3] <= height
    assert kept[2] % 2 == kept[3] % 2 == 0
    if after:
        assert after[:2] == [made.width, made.height]
        assert after[0] + after[2] <= size[0]
        assert after[1] + after[3] <= size[1]
    else:
        assert size == [made.width, made.height]
    # No more of the source is scaled than what is seen, and a pixel or two at each edge.
    factor = max(made.width / width, made.height / height)
    assert (kept[0] - 4) * factor <= made.width + 4
    assert (kept[1] - 4) * factor <= made.height + 4


def test_hdr_is_cropped_before_it_is_tone_mapped() -> None:
    filters = planned(REELS, color_transfer="smpte2084").filters
    assert filters.index("crop=608:1080") < filters.index("zscale")


def test_a_fade_that_does_not_fit_twice_is_refused() -> None:
    assert planned(replace(REELS, fade_s=2.0)).filters.endswith(
        "fade=t=in:st=0:d=2.000000,fade=t=out:st=2.000000:d=2.000000"
    )
    with pytest.raises(MediaError, match="too short to fade for 3 s twice"):
        planned(replace(REELS, fade_s=3.0))


@pytest.mark.parametrize(
    ("kind", "aspect", "reason"),
    [
        ("cutdown", "source", "the picture fades"),
        ("m4a", "source", "the sound fades"),
        ("gif", "source", None),
    ],
)
def test_what_could_have_been_copied_tells_that_it_fades(
    kind: Any, aspect: Any, reason: str | None
) -> None:
    assert planned(OutputSpec(kind, aspect, "crop", fade_s=1.0)).reason == reason
    assert planned(OutputSpec(kind, aspect, "crop")).reason is None


def test_a_held_picture_fades_too() -> None:
    spec = replace(REELS, fade_s=1.0)

    assert planned(spec).pictures is None
    assert planned(spec, variable=True, frame_rate=Fraction(1, 4)).pictures == 120


@pytest.mark.parametrize(
    ("rate", "made"),
    [("30", None), ("30000/1001", None), ("50", 100), ("60000/1001", 120), ("120", 120)],
)
def test_a_fast_source_keeps_an_even_part_of_its_pictures(rate: str, made: int | None) -> None:
    assert planned(replace(REELS, fastest=30), frame_rate=Fraction(rate)).pictures == made


@pytest.mark.parametrize(
    ("loop", "seconds", "pictures"),
    [
        ("dissolve", "3.5", 90),
        ("dissolve", "8.5", 240),
        ("dissolve", "60", 240),
        ("rebound", "2", 118),
        ("rebound", "60", 240),
        ("hard", "3", 90),
        ("hard", "60", 240),
    ],
)
def test_a_canvas_is_three_to_eight_seconds_long(loop: Any, seconds: str, pictures: int) -> None:
    made = planned(
        OutputSpec("canvas", "9:16", "crop", loop=loop), seconds, frame_rate=Fraction(30)
    )

    assert made.pictures == pictures
    assert made.length_s == Fraction(pictures, 30)
    # What is held in memory to be played backwards is half a Canvas.
    assert made.end - made.start <= {"dissolve": Fraction("8.5"), "hard": 8}.get(
        loop, Fraction(121, 30)
    )


def test_pictures_that_wait_to_be_played_backwards_are_copies_of_their_part() -> None:
    # Without that each holds the whole picture that it was cropped from: 1.4 GB of memory.
    assert "copy,reverse" in planned(OutputSpec("canvas", "9:16", "crop", loop="rebound")).filters


@pytest.mark.parametrize(
    ("loop", "seconds", "least"),
    [("dissolve", "3.4", "3.5"), ("rebound", "1.5", "1.533"), ("hard", "2.9", "3")],
)
def test_a_clip_that_is_too_short_for_a_canvas_is_refused(
    loop: Any, seconds: str, least: str
) -> None:
    with pytest.raises(MediaError, match=f"needs a clip of {least} s or more"):
        planned(OutputSpec("canvas", "9:16", "crop", loop=loop), seconds, frame_rate=Fraction(30))


@pytest.mark.parametrize("name", presets())
def test_each_preset_is_whole(name: str) -> None:
    made = preset(name)

    assert made.title
    assert made.spec.named == name
    assert planned(made.spec).spec == made.spec
    assert made.fitted("blur").fit == "blur"


def test_a_clip_longer_than_a_platform_takes_is_refused() -> None:
    assert planned(preset("x").spec, "140").end == 140
    with pytest.raises(MediaError, match="200 s long, and the preset x takes 140 s"):
        planned(preset("x").spec, "200")


def test_a_preset_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(MediaError, match="no preset 'vine': there are youtube, reels"):
        preset("vine")


def test_sound_of_a_silent_file_is_refused() -> None:
    with pytest.raises(MediaError, match="The file has no sound"):
        plan(
            replace(info(), audio=None),
            Clip(Fraction(0), Fraction(1)),
            OutputSpec("mp3", "source", "crop"),
        )


def test_what_an_output_is_survives_json_and_what_was_kept_before_is_read() -> None:
    spec = replace(preset("youtube").spec, centre=(0.1, 0.9), fade_s=0.5)
    assert OutputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    before = {"kind": "cutdown", "aspect": "9:16", "fit": "crop"}
    assert OutputSpec.from_dict(before) == REELS
