"""What an output would take: what is copied is known by key pictures, the rest is about right."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from cutmv.media import AudioStream, Clip, CostModel, Forecast, OutputSpec, forecast, plan
from tests.support.jobs import video_info

#: Key pictures every two seconds.
KEYS = tuple(float(at) for at in range(0, 60, 2))
MODEL = CostModel({})


def of(start: float, end: float, keys: tuple[float, ...] = KEYS, **spec: Any) -> Forecast:
    wanted = OutputSpec(**{"kind": "cutdown", "aspect": "source", "fit": "crop", **spec})
    clip = Clip(Fraction(start), Fraction(end))
    sound = AudioStream(1, "aac", 2, 48_000)
    info = replace(video_info(), size_bytes=60_000_000, audio=sound, sounds=(sound,))
    return forecast(plan(info, clip, wanted), MODEL, keys)


@pytest.mark.parametrize(
    ("start", "end", "copied_s"),
    [(2, 10, 8), (3, 10, 6), (2.5, 3.5, 0), (3.9, 4.5, 0.5), (59, 60, 0)],
)
def test_what_comes_before_the_first_key_picture_is_encoded(
    start: float, end: float, copied_s: float
) -> None:
    told = of(start, end)
    assert (told.copied_s, told.encoded_s) == (copied_s, pytest.approx(end - start - copied_s))


def test_what_is_copied_is_not_known_without_key_pictures() -> None:
    assert (of(2, 10, keys=()).copied_s, of(2, 10, keys=()).encoded_s) == (None, None)


def test_another_shape_is_encoded_whole() -> None:
    told = of(2, 10, aspect="9:16")
    assert (told.copied_s, told.encoded_s) == (0.0, 8.0) and told.reason
    assert of(2, 10, exact_copy="never").copied_s == 0.0


def test_what_is_copied_takes_less_time_and_the_bytes_of_its_source() -> None:
    video = video_info()
    copied, encoded = of(2, 10), of(2, 10, exact_copy="never")
    assert copied.seconds < encoded.seconds
    assert copied.size_bytes == pytest.approx(8 * 60e6 / video.duration_s, rel=0.05)


@pytest.mark.parametrize("kind", ["gif", "webp", "still", "m4a", "mp3", "wav", "flac"])
def test_other_kinds_have_bytes_and_nothing_copied(kind: str) -> None:
    told = of(2, 4, kind=kind)
    assert told.size_bytes > 0 and told.seconds > 0 and told.copied_s is None


def test_no_gif_is_told_larger_than_it_may_be() -> None:
    assert of(2, 10, kind="gif", max_bytes=50_000).size_bytes == 50_000


def test_presets_bound_the_bits() -> None:
    assert of(2, 10, aspect="9:16", bit_rate=100_000).size_bytes < 8 * 300_000 / 8 * 1.01
