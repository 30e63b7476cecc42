from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.media import Clip, FileTimes, MediaError, parse_clip, parse_time

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

#: A minute of video without timecode of its own, and files that tell nothing, or their rate alone.
MINUTE = FileTimes(Fraction(60), Fraction(25))
NOTHING = FileTimes()


def at(rate: Fraction) -> FileTimes:
    return FileTimes(frame_rate=rate)


@given(milliseconds=st.integers(0, 999_999_999))
def test_seconds_are_read_exactly(milliseconds: int) -> None:
    text = f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
    assert parse_time(text, NOTHING) == Fraction(milliseconds, 1000)


@given(milliseconds=st.integers(0, 99 * 3_600_000))
def test_minutes_and_hours_are_read_exactly(milliseconds: int) -> None:
    seconds, milli = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    long = f"{minutes // 60}:{minutes % 60:02d}:{second:02d}.{milli:03d}"
    short = f"{minutes:02d}:{second:02d}.{milli:03d}"
    assert parse_time(long, NOTHING) == Fraction(milliseconds, 1000)
    assert parse_time(short, NOTHING) == Fraction(milliseconds, 1000)


@given(rate=st.sampled_from(RATES), frame=st.integers(0, 400_000))
def test_timecode_names_a_frame(rate: tuple[Fraction, int], frame: int) -> None:
    exact, nominal = rate
    seconds, number = divmod(frame, nominal)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{number:02d}"
    assert parse_time(text, at(exact)) == frame / exact


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
    assert parse_time(text, at(exact)) == frame / exact


def test_an_hour_of_drop_frame_timecode_is_an_hour() -> None:
    # The example of SMPTE ST 12-1: 107,892 frames at 29.97 are 01:00:00;00.
    assert parse_time("01:00:00;00", at(Fraction(30000, 1001))) == 107_892 * Fraction(1001, 30000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not one we read"),
        ("soon", "not one we read"),
        ("-3", "length is known"),
        ("end", "length is known"),
        ("-", "not one we read"),
        ("30s1m", "not one we read"),
        ("1m1m", "not one we read"),
        ("1s30", "not one we read"),
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
        parse_time(text, at(Fraction(25)))
    assert "\n" not in str(told.value)
    assert repr(text) in str(told.value)


def test_timecode_without_a_frame_rate_is_refused() -> None:
    with pytest.raises(MediaError, match="needs a video with a frame rate"):
        parse_time("00:00:01:00", NOTHING)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert parse_time(text, at(Fraction(25))) >= 0
    except MediaError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("0:05-0:12.5", Fraction(5), Fraction(25, 2)),
        (" 63 - 70.25 ", Fraction(63), Fraction(281, 4)),
        ("00:00:01:05-00:00:02:00", Fraction(6, 5), Fraction(2)),
        ("1:00:00-1:00:01", Fraction(3600), Fraction(3601)),
        ("1:02:03.5 to 1:02:20", Fraction(7447, 2), Fraction(3740)),
        ("0:10–0:25", Fraction(10), Fraction(25)),
        ("0:10 — 0:25", Fraction(10), Fraction(25)),
        ("0:10..0:25", Fraction(10), Fraction(25)),
        ("00:00:01,000 --> 00:00:04,250", Fraction(1), Fraction(17, 4)),
        ("10,5-12,25", Fraction(21, 2), Fraction(49, 4)),
        ("10s+15s", Fraction(10), Fraction(25)),
        ("0:10 + 1.5", Fraction(10), Fraction(23, 2)),
        ("00:00:10:05+00:00:01:05", Fraction(51, 5), Fraction(57, 5)),
        ("1m30s-2m", Fraction(90), Fraction(120)),
        ("1h 2m 3.5s - 1h2m4", Fraction(7447, 2), Fraction(3724)),
        ("1m30-500 min", Fraction(90), Fraction(30_000)),
        ("500ms-1 sec", Fraction(1, 2), Fraction(1)),
        ("10-end", Fraction(10), Fraction(60)),
        ("-10-END", Fraction(50), Fraction(60)),
        ("-10--5", Fraction(50), Fraction(55)),
        ("10 - -0:05.5", Fraction(10), Fraction(109, 2)),
        ("-0:10+5", Fraction(50), Fraction(55)),
        ("−10..−00:00:05:00", Fraction(50), Fraction(55)),
    ],
)
def test_a_clip_has_a_start_and_an_end(text: str, start: Fraction, end: Fraction) -> None:
    assert parse_clip(text, MINUTE) == Clip(start, end)


CAMERA = FileTimes(Fraction(6), Fraction(30), "01:00:00:00")
DROPPING = FileTimes(Fraction(600), Fraction(30000, 1001), "01:00:00;00")


@pytest.mark.parametrize(
    ("text", "file", "first", "last"),
    [
        ("01:00:02:00-01:00:04:00", CAMERA, 60, 120),
        ("01:00:02:00+2s", CAMERA, 60, 120),
        ("2-01:00:04:00", CAMERA, 60, 120),
        ("01:00:02:00-01:00:04:00", DROPPING, 60, 120),
        ("01:01:00;02-01:01:00;04", DROPPING, 1800, 1802),
        # Drop-frame has no such frame; the minute begins with the next.
        ("01:01:00;00-01:01:00;04", DROPPING, 1800, 1802),
        ("00:00:01:00-00:00:02:00", FileTimes(Fraction(6), Fraction(30), "23:59:59:00"), 60, 90),
        ("00:00:01;00-00:00:02:00", FileTimes(Fraction(6), Fraction(30000, 1001)), 30, 60),
    ],
)
def test_timecode_is_the_file_s_own(text: str, file: FileTimes, first: int, last: int) -> None:
    clip = parse_clip(text, file)
    assert file.frame_rate is not None
    assert (clip.start * file.frame_rate, clip.end * file.frame_rate) == (first, last)


@pytest.mark.parametrize(
    ("text", "file", "words"),
    [
        ("00:00:02:00-00:00:04:00", CAMERA, "the file starts at 01:00:00:00"),
        ("01:00:10:00-01:00:12:00", CAMERA, "the file starts at 01:00:00:00 and lasts 6.000 s"),
        (
            "01:00:02;00-01:00:04;00",
            FileTimes(Fraction(6), Fraction(30000, 1001), "01:00:00:00"),
            "is drop-frame, and the file's, 01:00:00:00, is not",
        ),
        ("-61-end", MINUTE, "before the video's start: it lasts 60.000 s"),
    ],
)
def test_a_time_that_is_not_in_the_file_is_refused_with_what_is(
    text: str, file: FileTimes, words: str
) -> None:
    with pytest.raises(MediaError, match=words):
        parse_clip(text, file)


@given(
    seconds=st.lists(st.integers(0, 60_000), min_size=2, max_size=2, unique=True).map(sorted),
    between=st.sampled_from(["-", " - ", "–", " — ", "..", "…", " to ", "→", " --> "]),
    write=st.tuples(*[st.sampled_from(["number", "clock", "comma", "units", "before"])] * 2),
)
def test_however_a_clip_is_written_it_is_the_same(
    seconds: list[int], between: str, write: tuple[str, str]
) -> None:
    def written(milliseconds: int, how: str) -> str:
        whole, rest = divmod(milliseconds, 1000)
        return {
            "number": f"{whole}.{rest:03d}",
            "clock": f"{whole // 60}:{whole % 60:02d}.{rest:03d}",
            "comma": f"{whole},{rest:03d}",
            "units": f"{whole // 60}m{whole % 60}s{rest}ms",
            "before": f"-{(60_000 - milliseconds) / 1000:.3f}",
        }[how]

    start, end = seconds
    text = between.join([written(start, write[0]), written(end, write[1])])
    assert parse_clip(text, MINUTE) == Clip(Fraction(start, 1000), Fraction(end, 1000))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5", "must be START-END"),
        ("5-", "must be START-END"),
        ("-5", "must be START-END"),
        ("5-3", "ends before it starts"),
        ("1:12-end", "starts past the end of the video, 60.000 s"),
        ("5-5.000", "is empty"),
        ("1-2-3", "not one we read"),
        ("soon-later", "'soon'"),
        ("5+end", "'end'"),
        ("5+-3", "'-3'"),
        ("5-" + "3" * 500, "…"),
    ],
)
def test_a_clip_that_can_not_be_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(MediaError, match=words) as told:
        parse_clip(text, MINUTE)
    assert "\n" not in str(told.value)
