"""What packets say of pictures where two recordings were joined, or that have no time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutmv.media.engine.timeline.pictures import (
    Entry,
    Picture,
    Timeline,
    without_holes,
    without_overlap,
)


def of(*times: int, keys: tuple[int, ...]) -> list[Picture]:
    return [
        Picture(pts, pts, Entry.CLEAN if place in keys else Entry.NONE)
        for place, pts in enumerate(times)
    ]


def test_one_recording_is_as_it_was() -> None:
    pictures = of(0, 3, 1, 2, 4, 7, 5, 6, keys=(0, 4))
    assert without_overlap(pictures) == (pictures, 0)


def test_from_a_step_back_on_the_second_recording_is_shown() -> None:
    found, back = without_overlap(of(0, 3, 1, 2, 2, 5, 3, 4, keys=(0, 4)))
    assert [picture.pts for picture in found if picture.shown] == [0, 1, 2, 5, 3, 4]
    assert back == 1


def test_each_of_many_steps_back_is_one() -> None:
    found, back = without_overlap(of(*range(1000, 0, -1), keys=tuple(range(1000))))
    assert [picture.pts for picture in found if picture.shown] == [1]
    assert back == 1


@pytest.mark.parametrize(
    ("damaged", "spoiled"),
    [
        ({5}, {5, 4, 7, 8, 6, 9}),  # the first that follow an open entry may need it
        ({4}, {7, 8, 6, 9}),
        ({12}, {9, 11}),  # which itself needs nothing, and is not where decoding can begin
        ({9}, {11}),
        ({14}, set()),
        (set(), set()),
    ],
)
def test_what_follows_a_damaged_picture_up_to_a_key_picture_may_be_made_from_it(
    damaged: set[int], spoiled: set[int]
) -> None:
    pictures = of(0, 5, 4, 7, 10, 8, 6, 12, 9, 11, 13, 14, keys=(0, 10))
    pictures[4] = replace(pictures[4], entry=Entry.OPEN)

    assert Timeline(pictures).made_from(damaged) == spoiled - damaged


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([0, 3, 6], [0, 3, 6]),
        ([None, 3, None, None, 12, 15, None], [0, 3, 6, 9, 12, 15, 18]),
        ([0, None, 7, None, None, 17], [0, 4, 7, 10, 14, 17]),  # a clock that is coarse
        ([0, 3, 6, None, 16], None),  # who knows where
        ([0, 3, 9, 12], [0, 3, 9, 12]),
        ([None, 3, None], None),
    ],
)
def test_times_that_are_missing_are_those_between_the_others_if_that_is_sure(
    times: list[int | None], found: list[int] | None
) -> None:
    assert without_holes(times) == found
