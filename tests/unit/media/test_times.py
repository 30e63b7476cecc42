from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.media import Clip, MediaError, parse_clip, parse_time

#: Frame rates and the whole number of frames that their timecode counts a second.
RATES = [
    (Fraction(24000, 1001), 24),
    (Fraction(24), 24),
    (Fraction(25), 25),
    (Fraction(30000, 1001), 30),
    (Fraction(30), 30),
    (Fraction(50), 50),
    (Fraction(60000, 1001), 60),
]


@given(milliseconds=st.integers(0, 999_999_999))
def test_seconds_are_read_exactly(milliseconds: int) -> None:
    text = f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
    assert parse_time(text, None) == Fraction(milliseconds, 1000)


@given(milliseconds=st.integers(0, 99 * 3_600_000))
def test_minutes_and_hours_are_read_exactly(milliseconds: int) -> None:
    seconds, milli = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    long = f"{minutes // 60}:{minutes % 60:02d}:{second:02d}.{milli:03d}"
    short = f"{minutes:02d}:{second:02d}.{milli:03d}"
    assert parse_time(long, None) == Fraction(milliseconds, 1000)
    assert parse_time(short, None) == Fraction(milliseconds, 1000)


@given(rate=st.sampled_from(RATES), frame=st.integers(0, 400_000))
def test_timecode_names_a_frame(rate: tuple[Fraction, int], frame: int) -> None:
    exact, nominal = rate
    seconds, number = divmod(frame, nominal)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{number:02d}"
    assert parse_time(text, exact) == frame / exact


@given(
    rate=st.sampled_from([r for r in RATES if r[0].denominator == 1001 and r[1] >= 30]),
    data=st.data(),
)
def test_drop_frame_timecode_skips_the_first_numbers_of_nine_minutes_in_ten(
    rate: tuple[Fraction, int], data: st.DataObject
) -> None:
    exact, nominal = rate
    dropped = nominal // 15
    # Count through an hour as a clock does, minute by minute.
    minute = data.draw(st.integers(0, 59))
    skips = minute % 10 != 0
    number = data.draw(st.integers(dropped if skips else 0, nominal * 60 - 1))
    before = sum(nominal * 60 - (dropped if m % 10 else 0) for m in range(minute))
    text = f"00:{minute:02d}:{number // nominal:02d};{number % nominal:02d}"
    frame = before + number - (dropped if skips else 0)
    assert parse_time(text, exact) == frame / exact


def test_an_hour_of_drop_frame_timecode_is_an_hour() -> None:
    # The example of SMPTE ST 12-1: 107,892 frames at 29.97 are 01:00:00;00.
    assert parse_time("01:00:00;00", Fraction(30000, 1001)) == 107_892 * Fraction(1001, 30000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not one we read"),
        ("soon", "not one we read"),
        ("-3", "not one we read"),
        ("1e3", "not one we read"),
        ("nan", "not one we read"),
        ("1:60", "not one we read"),
        ("1:75:00", "more than 59 minutes"),
        ("9999999", "longer than any video"),
        ("00:00:01:25", "past 24"),
        ("00:00:01;02", "drop-frame"),
    ],
)
def test_a_time_that_can_not_be_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(MediaError, match=words) as told:
        parse_time(text, Fraction(25))
    assert "\n" not in str(told.value)
    assert repr(text) in str(told.value)


def test_timecode_without_a_frame_rate_is_refused() -> None:
    with pytest.raises(MediaError, match="needs a video with a frame rate"):
        parse_time("00:00:01:00", None)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert parse_time(text, Fraction(25)) >= 0
    except MediaError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("0:05-0:12.5", Fraction(5), Fraction(25, 2)),
        (" 63 - 70.25 ", Fraction(63), Fraction(281, 4)),
        ("00:00:01:05-00:00:02:00", Fraction(6, 5), Fraction(2)),
        ("1:00:00-1:00:01", Fraction(3600), Fraction(3601)),
    ],
)
def test_a_clip_has_a_start_and_an_end(text: str, start: Fraction, end: Fraction) -> None:
    assert parse_clip(text, Fraction(25)) == Clip(start, end)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5", "must be START-END"),
        ("5-", "must be START-END"),
        ("-5", "must be START-END"),
        ("5-3", "ends before it starts"),
        ("5-5.000", "is empty"),
        ("1-2-3", "not one we read"),
    ],
)
def test_a_clip_that_can_not_be_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(MediaError, match=words) as told:
        parse_clip(text, Fraction(25))
    assert "\n" not in str(told.value)
