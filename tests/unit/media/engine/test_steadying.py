"""Sound is placed by its clock, and left as it is as long as it is not beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from av.audio.frame import AudioFrame

from cutmv.media.engine.sound.filtering import FORMAT
from cutmv.media.engine.sound.steadying import steady

RATE = 48_000


def pieces(lengths: list[int], clock: list[int | None]) -> Iterator[tuple[int | None, AudioFrame]]:
    for samples, at in zip(lengths, clock, strict=True):
        frame = AudioFrame(format=FORMAT, layout="mono", samples=samples)
        frame.sample_rate = RATE
        yield at, frame


def places(lengths: list[int], clock: list[int | None]) -> list[tuple[int, int]]:
    return [(place, each.samples) for place, each in steady(pieces(lengths, clock), RATE)]


@pytest.mark.parametrize("length", [1024, 65_535])  # the longest of FLAC is more than a second
def test_what_is_in_its_place_is_left_there(length: int) -> None:
    exact = [500 + number * length for number in range(100)]
    assert places([length] * 100, [*exact]) == [(at, length) for at in exact]


def test_times_of_whole_milliseconds_are_counted_from_the_first() -> None:
    exact = [number * 1024 for number in range(400)]
    rounded = [round(at / 48) * 48 for at in exact]
    assert places([1024] * 400, [*rounded]) == [(at, 1024) for at in exact]


def test_a_hole_stays_as_long_as_it_is_and_a_piece_without_a_time_follows() -> None:
    found = places([1024] * 6, [None, 0, None, 2048, 3172, None])
    assert found == [(0, 1024), (1024, 1024), (2048, 1024), (3172, 1024), (4196, 1024)]


def test_a_clock_that_drifts_has_as_many_samples_as_it_tells() -> None:
    clock = [round(number * 1024 * 1.001) for number in range(1000)]
    found = places([1024] * 1000, [*clock])
    ends = [place + samples for place, samples in found]
    assert [place for place, _ in found][1:] == ends[:-1]
    assert ends[-1] == pytest.approx(1_024_000 * 1.001, abs=24)
