"""The time of a clip, on the clock of its source."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cutmv.media.engine.source.clip import Span
from cutmv.media.engine.timeline.pictures import Picture, Timeline


def shown(span: Span, ticks: list[int]) -> list[int]:
    pictures = Timeline([Picture(tick, tick) for tick in ticks])
    return [ticks.index(each.pts) for each in pictures.between(span.first, span.past)]


@given(first=st.integers(0, 298), length=st.integers(1, 300))
def test_a_clip_from_one_picture_to_another_has_just_those(first: int, length: int) -> None:
    last = min(first + length, 300)
    start, end = (Fraction(n * 1001, 30000) for n in (first, last))
    span = Span.of(start, end, Fraction(1, 30000))
    assert shown(span, [n * 1001 for n in range(300)]) == list(range(first, last))


@given(milliseconds=st.integers(0, 9_000))
def test_the_picture_that_is_seen_at_the_start_is_the_first(milliseconds: int) -> None:
    start = Fraction(milliseconds, 1000)
    end = start + Fraction(1, 2)
    times = [Fraction(n * 1001, 30000) for n in range(300)]
    begun = sum(time <= start for time in times)
    wanted = [n for n, time in enumerate(times) if n >= begun - 1 and time < end]
    assert shown(Span.of(start, end, Fraction(1, 30000)), [n * 1001 for n in range(300)]) == wanted


@given(first=st.integers(0, 250), length=st.integers(1, 48))
def test_a_clock_of_milliseconds_names_the_same_pictures(first: int, length: int) -> None:
    # Matroska rounds each picture's time to a millisecond.
    start, end = (Fraction(n * 1001, 30000) for n in (first, first + length))
    ticks = [round(Fraction(n * 1001, 30)) for n in range(300)]
    span = Span.of(start, end, Fraction(1, 1000))
    assert shown(span, ticks) == list(range(first, first + length))


def test_a_clock_that_counts_pictures_is_no_clip_s_own() -> None:
    # AVI's ticks are its pictures: a clip between two of them is as long as it was asked for.
    span = Span.of(Fraction("1.013"), Fraction("2.99"), Fraction(1, 30))
    assert abs(span.length * span.tick - Fraction("1.977")) <= span.tick
    assert shown(span, list(range(120))) == list(range(30, 90))
