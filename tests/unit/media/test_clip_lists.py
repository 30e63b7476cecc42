"""Lists of clips as people paste them, and as other programs write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cutmv.media import (
    FileTimes,
    MediaError,
    parse_clip,
    parse_clip_list,
    parse_labelled_clip,
    read_clip_list,
)

#: Ten minutes of video, without timecode of its own and with it, and drop-frame.
FILE = FileTimes(Fraction(600), Fraction(30))
CAMERA = FileTimes(Fraction(600), Fraction(30), "01:00:00:00")
NTSC = FileTimes(Fraction(600), Fraction(30000, 1001))

Read = list[tuple[float, float, str]]


def read(text: str, file: FileTimes = FILE) -> Read:
    clips = parse_clip_list(text, file)
    for each in clips:  # what a job keeps of it says the same
        assert parse_clip(each.text, file) == each.clip
    return [(float(each.clip.start), float(each.clip.end), each.label) for each in clips]


@pytest.mark.parametrize(
    ("line", "clip"),
    [
        ("0:10-0:25", (10, 25, "")),
        ("0:10-0:25 Chorus", (10, 25, "Chorus")),
        ("Chorus 0:10-0:25", (10, 25, "Chorus")),
        ("Chorus: 0:10 – 0:25", (10, 25, "Chorus")),
        ("Chorus - 0:10-0:25", (10, 25, "Chorus")),
        ("Verse 2 (live) | 0:10-0:25", (10, 25, "Verse 2 (live)")),
        ("[0:10-0:25] Chorus", (10, 25, "Chorus")),
        ("Chorus (0:10-0:25)", (10, 25, "Chorus")),
        ("0:10-0:25, Chorus, live", (10, 25, "Chorus, live")),
        ("0:10-0:25: Chorus", (10, 25, "Chorus")),
        ("- 0:10-0:25 Chorus", (10, 25, "Chorus")),
        ("3. 0:10-0:25 Chorus", (10, 25, "Chorus")),
        ("-10--5 Chorus", (590, 595, "Chorus")),
        ("10-25 Chorus", (10, 25, "Chorus")),
        ("Chorus 10 to 25", (10, 25, "Chorus")),
        ("Chorus 10s+15s", (10, 25, "Chorus")),
        ("1m30s..end Outro", (90, 600, "Outro")),
        ("Part 1 - 0:10-0:25", (10, 25, "Part 1")),
        ("2024-11-25 0:10-0:25", (10, 25, "2024-11-25")),
        ("0:10,5 - 0:25,5", (10.5, 25.5, "")),
    ],
)
def test_a_line_has_a_clip_and_perhaps_a_label(line: str, clip: tuple[float, float, str]) -> None:
    assert read(f"# what to cut\n\n{line}\r\n1:00-1:10\n") == [clip, (60, 70, "")]
    alone = parse_labelled_clip(line, FILE)
    assert (float(alone.clip.start), float(alone.clip.end), alone.label) == clip


CHAPTERS = [(0, 31, "Intro"), (31, 120, "24 Hours"), (120, 600, "Outro (live)")]


@pytest.mark.parametrize(
    "text",
    [
        "0:00 Intro\n0:31 24 Hours\n2:00 Outro (live)",
        "0:00 - Intro\n0:31 - 24 Hours\n2:00 – Outro (live)",
        "(0:00) Intro\n(0:31) 24 Hours\n(2:00) Outro (live)",
        "Intro 0:00\n24 Hours 0:31\nOutro (live) 2:00",
        "00:00:00 Intro\n00:00:31\t24 Hours\n00:02:00 Outro (live)",
        "1. Intro - 0:00\n2. 24 Hours - 0:31\n3. Outro (live) - 2:00",
    ],
)
def test_a_chapter_lasts_until_the_next_and_the_last_to_the_end(text: str) -> None:
    assert read(text) == CHAPTERS


@pytest.mark.parametrize(
    "text",
    [
        "10.5,20,Chorus\n30,,\n,5,Intro",  # LosslessCut's, with cells left out
        "start,end,name\n10.5,20,Chorus\n30,,\n,5,Intro",
        "Name;Start;End\nChorus;10,5;20\n;30;\nIntro;;5",
        "10.5\t20.0\tChorus\n30\tend\n0\t5\tIntro",  # Audacity's labels
        "Chorus,0:10.5,0:20\n,0:30,end\nIntro,0:00,0:05",
        'in,duration,title\n10.5,9.5,"Chorus"\n30,,\n,5,Intro',
    ],
)
def test_a_table_has_a_header_or_none(text: str) -> None:
    assert read(text) == [(10.5, 20, "Chorus"), (30, 600, ""), (0, 5, "Intro")]


def test_a_comma_may_be_part_of_a_quoted_label() -> None:
    assert read('1,2,"Verse, live"') == [(1, 2, "Verse, live")]


EDL = """\ufeffTITLE: Song
FCM: NON-DROP FRAME

001  AX       V     C        01:00:02:00 01:00:04:00 00:00:00:00 00:00:02:00
* FROM CLIP NAME: song.mov
002  AX       A     C        01:00:02:00 01:00:04:00 00:00:00:00 00:00:02:00
* FROM CLIP NAME: song.mov
003  BL       V     C        00:00:00:00 00:00:01:00 00:00:02:00 00:00:03:00
004  AX       V     C        01:00:04:00 01:00:04:00 00:00:03:00 00:00:03:00
004  AX       V     D    024 01:00:10:00 01:00:12:15 00:00:03:00 00:00:05:15
* FROM CLIP NAME: song.mov
* TO CLIP NAME: Bridge
005  AX       AA/V  C        01:00:20:00 01:00:21:00 00:00:05:15 00:00:06:15
* FROM CLIP NAME: song.mov
* COMMENT: the hook
"""


def test_an_edl_gives_the_source_s_spans() -> None:
    assert read(EDL, CAMERA) == [(2, 4, "song"), (10, 12.5, "Bridge"), (20, 21, "the hook")]


def test_an_edl_says_whether_it_drops_frames() -> None:
    event = "001 AX V C 00:01:00:02 00:10:00:00 00:00:00:00 00:09:00:00"
    (dropping,) = parse_clip_list(f"FCM: DROP FRAME\n{event}", NTSC)
    frame = Fraction(1001, 30000)
    assert (dropping.clip.start, dropping.clip.end) == (1800 * frame, 17_982 * frame)
    assert read(event, FileTimes(Fraction(700), Fraction(30)))[0][0] == 60 + 2 / 30


def test_an_edl_of_the_sound_alone_is_cut_too() -> None:
    assert read("001 AX A C 00:00:01:00 00:00:02:00 0:00:00:00 00:00:01:00".replace(" 0:", " 00:"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no clip in the list"),
        ("# nothing\n\n", "no clip in the list"),
        ("0:10-0:25\nsoon\n", "Line 2 can't be read, 'soon'"),
        ("0:10-0:25\n\n0:25 Verse\n", "Line 3 can't be read, '0:25 Verse': it has no end"),
        ("0:00 Intro\nTracklist:\n", "Line 2 can't be read, 'Tracklist:'"),
        ("0:10-0:20 and 0:30-0:40", "Line 1 can't be read"),
        ("0:00 4:33", "Line 1 can't be read"),
        ("5", "Line 1 can't be read, '5'"),
        (
            "1:00 Verse\n0:30 Intro",
            "Line 2 can't be read, '0:30 Intro': its chapter begins no later",
        ),
        ("0:00 A\n1:00 B\n\n1:00 C\n1:10 D", "Line 4 can't be read, '1:00 C': its chapter begins"),
        ("start,end\n1,2\n5,3\n", "Line 3 can't be read, '5,3': .* ends before it starts"),
        ("1,2\nsoon,3\n", "Line 2 can't be read, 'soon,3': The time 'soon'"),
        ("1,2\n,,Nothing\n", "Line 2 can't be read, ',,Nothing': it has no time"),
        ("FCM: DROP FRAME\n001 AX V C 00:00:01:00 00:00:02:00", "Line 2 can't be read"),
        (EDL.replace("005  AX ", "005  TAPE"), r"several sources \(AX, TAPE\)"),
        ("x" * 3000, "Line 1 can't be read, .*longer than"),
        ("0-1\n" * 2001, "has 2001 clips: at most 2000"),
    ],
)
def test_what_can_not_be_read_is_shown_with_its_line(text: str, words: str) -> None:
    with pytest.raises(MediaError, match=words) as told:
        parse_clip_list(text, CAMERA)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("text", ["5", "0:10 Chorus", "Chorus", "0:10-0:20 or 0:30-0:40", "# 1-x"])
def test_a_clip_by_itself_needs_both_its_ends(text: str) -> None:
    with pytest.raises(MediaError):
        parse_labelled_clip(text, FILE)


#: Lines of what lists are made of.
PIECES = st.sampled_from(
    ["0:10", "1", "25", "-", " ", "–", "end", ",", ";", "\t", ":", "to", "+", "..", "5s", "1m",
     "Chorus", "(", ")", "#", "start", "name", '"', "\n", "\r", "FCM: DROP", "\x85", "\0",
     "001 AX V C 00:00:01:00 00:00:02:00 00:00:00:00 00:00:01:00"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join)))
@example("1h" * 900)
@example("1 " * 900)
@example("1-" * 900)
def test_any_text_is_a_list_or_one_clear_error(text: str) -> None:
    for of_one in (False, True):
        try:
            clips = [parse_labelled_clip(text, NTSC)] if of_one else parse_clip_list(text, NTSC)
        except MediaError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 400
        else:
            assert clips
            assert all(each.clip.start < each.clip.end for each in clips)


@given(
    starts=st.sets(st.integers(0, 599), min_size=1, max_size=20).map(sorted),
    names=st.lists(st.sampled_from(["Intro", "24 Hours", "Verse 2", "", "7 Rings"]), min_size=20),
)
def test_chapters_share_the_video_without_a_gap(starts: list[int], names: list[str]) -> None:
    lines = [f"{at // 60}:{at % 60:02d} {name}" for at, name in zip(starts, names, strict=False)]
    clips = read("\n".join(lines))
    assert [start for start, _, _ in clips] == starts
    assert [end for _, end, _ in clips] == [*starts[1:], 600]
    assert [label for _, _, label in clips] == names[: len(starts)]


def test_lines_that_can_t_be_read_are_told_one_by_one_and_the_rest_is_read() -> None:
    clips, wrong = read_clip_list("0:10-0:25 Chorus\nlater\n1:00-1:10\n0:30-0:20 Coda\n", FILE)

    assert [(each.text, each.label) for each in clips] == [
        ("0:10-0:25", "Chorus"),
        ("1:00-1:10", ""),
    ]
    assert [(each.number, each.text) for each in wrong] == [(2, "later"), (4, "0:30-0:20 Coda")]
    assert all(each.why for each in wrong)


def test_of_a_text_that_is_no_list_a_few_lines_are_told() -> None:
    clips, wrong = read_clip_list("no clip\n" * 500, FILE)

    assert clips == [] and 0 < len(wrong) <= 20


def test_what_is_wrong_with_a_list_and_no_line_is_raised() -> None:
    for text in ("", "\n# nothing\n", "0:01-0:02\n" * 2001):
        with pytest.raises(MediaError):
            read_clip_list(text, FILE)
