"""What is copied of a clip, and what is encoded: a pure decision."""

from __future__ import annotations

from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from cutmv.media.engine.timeline.pictures import Entry, Picture, Timeline, with_dts
from cutmv.media.engine.timeline.segments import Copied, Encoded, decide


def group(first: int, shown: list[int], entry: Entry = Entry.CLEAN) -> list[Picture]:
    """Pictures in decoding order, shown `shown` ticks after `first`; the first is an entry."""
    kinds = [entry, *[Entry.NONE] * (len(shown) - 1)]
    return [Picture(first + at, None, kind) for at, kind in zip(shown, kinds, strict=True)]


def timeline(*groups: list[Picture]) -> Timeline:
    return Timeline(with_dts([picture for each in groups for picture in each]))


#: Two B-pictures between references, twice, and the same group 6 and 12 ticks later.
SHOWN = [0, 3, 1, 2, 5, 4]


def parts(found: Timeline, start: int, end: int) -> list[tuple[str, list[int]]]:
    return [
        (type(each).__name__, sorted(picture.pts for picture in each.pictures))
        for each in decide(found, start, end)
    ]


def test_whole_groups_are_copied_and_the_edges_encoded() -> None:
    found = timeline(group(0, SHOWN), group(6, SHOWN), group(12, SHOWN))
    assert parts(found, 2, 17) == [
        ("Encoded", [2, 3, 4, 5]),
        ("Copied", [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        ("Encoded", [16]),
    ]


def test_a_clip_of_hours_is_decided_in_proportion_to_its_length() -> None:
    def seconds(groups: int) -> float:
        found = timeline(*(group(6 * number, SHOWN) for number in range(groups)))
        began = process_time()
        decide(found, 2, 6 * groups - 1)
        return process_time() - began

    assert seconds(2_000) < 30 * seconds(250) + 0.1


def test_a_clip_that_begins_at_an_entry_has_no_head() -> None:
    found = timeline(group(0, SHOWN), group(6, SHOWN))
    assert parts(found, 6, 12) == [("Copied", [6, 7, 8, 9, 10, 11])]


def test_a_picture_that_began_before_the_start_is_the_clip_s_first() -> None:
    found = timeline(group(0, [0, 10, 20]), group(30, [0, 10]))
    assert parts(found, 15, 45) == [("Encoded", [10, 20]), ("Copied", [30, 40])]
    assert parts(found, 5, 45) == [("Copied", [0, 10, 20, 30, 40])]
    assert parts(found, 35, 45) == [("Copied", [30, 40])]


def test_where_none_has_begun_the_first_that_follows_is_taken() -> None:
    assert parts(timeline(group(30, [0, 10])), 5, 45) == [("Copied", [30, 40])]
    assert parts(timeline(group(30, [0, 10])), 5, 20) == [("Encoded", [30])]


def test_pictures_that_lead_an_open_entry_are_encoded() -> None:
    opened = [Picture(9, None, Entry.OPEN), Picture(7, None), Picture(8, None), Picture(10, None)]
    found = timeline(group(0, [0, 3, 1, 2, 6, 4, 5]), opened)
    assert parts(found, 5, 11) == [("Encoded", [5, 6, 7, 8]), ("Copied", [9, 10])]


def test_a_rough_entry_begins_no_copy() -> None:
    found = timeline(group(0, SHOWN), group(6, SHOWN, Entry.ROUGH))
    assert parts(found, 3, 10) == [("Encoded", [3, 4, 5, 6, 7, 8, 9])]


def test_a_run_that_would_be_too_short_is_encoded() -> None:
    found = timeline(group(0, SHOWN), group(6, SHOWN))
    assert [type(each) for each in decide(found, 2, 8, smallest_run=3)] == [Encoded]


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Groups of mini-groups, each a reference and pictures that are shown before it."""
    groups, at = [], 0
    for number in range(draw(st.integers(1, 5))):
        opened = number > 0 and draw(st.booleans())
        leading = draw(st.integers(1, 3)) if opened else 0
        entry = Entry.OPEN if opened else Entry.CLEAN
        pictures = [Picture(at + leading, None, entry)]
        pictures += [Picture(at + place, None) for place in range(leading)]
        at += leading + 1
        for _ in range(draw(st.integers(0, 4))):
            before = draw(st.integers(0, 3))
            pictures.append(Picture(at + before, None))
            pictures += [Picture(at + place, None) for place in range(before)]
            at += before + 1
        groups.append(pictures)
    return timeline(*groups)


@given(found=timelines(), data=st.data())
def test_each_picture_of_a_clip_is_in_one_segment_and_each_run_is_whole(
    found: Timeline, data: st.DataObject
) -> None:
    last = max(picture.pts for picture in found.pictures)
    start = data.draw(st.integers(0, last))
    end = data.draw(st.integers(start + 1, last + 1))
    segments = decide(found, start, end)
    assert [pts for each in segments for pts in sorted(p.pts for p in each.pictures)] == list(
        range(start, end)
    )
    assert sum(isinstance(each, Copied) for each in segments) <= 1
    for each in segments:
        if isinstance(each, Copied):
            run = found.pictures[each.first : each.last + 1]
            dropped = [picture.pts for picture in run if picture not in each.pictures]
            assert all(pts < run[0].pts for pts in dropped)
            assert run[0].entry.exact


@given(found=timelines())
def test_decoding_times_rise_and_are_never_after_those_of_showing(found: Timeline) -> None:
    times = [picture.dts for picture in found.pictures]
    assert times == sorted(set(times))
    assert all(p.dts is not None and p.dts <= p.pts for p in found.pictures)
