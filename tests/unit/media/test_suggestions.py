"""Which clips are suggested by what was seen and heard, and how they are written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from cutmv.media import FileTimes, MediaError, parse_clip_list
from cutmv.media.suggestions import Analysis, Suggestion, analysing, clip_list, suggest
from tests.support.jobs import video_info

LENGTH_S, BEAT_S, BAR_S = 60.0, 0.5, 2.0
BEATS = tuple(np.arange(0, LENGTH_S, BEAT_S).round(3).tolist())

#: A minute of 25 pictures a second and 120 beats a minute, louder from 30 s on.
MUSIC = Analysis(
    length_s=LENGTH_S,
    rate=25.0,
    first=0.0,
    end=LENGTH_S,
    scenes=(10.0, 30.0, 41.0),
    black=(),
    movement=(5.0,) * 120,
    half_pictures=tuple(np.arange(0, LENGTH_S, 0.5).tolist()),
    sound=True,
    loudness=(-30.0,) * 60 + (-10.0,) * 60,
    tempo=120.0,
    meter=4,
    beats=BEATS,
    downbeats=BEATS[::4],
    beat_pictures=tuple(round(round(beat * 25) / 25, 6) for beat in BEATS),
)
NO_BEAT = replace(MUSIC, tempo=None, meter=None, beats=(), downbeats=(), beat_pictures=())
NO_SOUND = replace(NO_BEAT, sound=False, loudness=())


def spans(clips: tuple[Suggestion, ...]) -> list[tuple[float, float]]:
    return sorted((each.start, each.end) for each in clips)


@pytest.mark.parametrize("analysis", [MUSIC, NO_BEAT, NO_SOUND])
@pytest.mark.parametrize("on", ["any", "beat", "scene"])
@pytest.mark.parametrize(("clips", "length_s"), [(10, 15.0), (4, 5.0), (10, 0.7), (100, 1.0)])
def test_clips_lie_in_the_video_and_do_not_overlap(
    analysis: Analysis, on: str, clips: int, length_s: float
) -> None:
    found = spans(suggest(analysis, clips=clips, length_s=length_s, on=on).clips)  # type: ignore[arg-type]

    assert 1 <= len(found) <= clips
    assert found[0][0] >= 0 and found[-1][1] <= LENGTH_S
    assert all(end <= start for (_, end), (start, _) in pairwise(found))
    assert all(end - start <= length_s + 1e-6 for start, end in found)
    # Whole pictures.
    assert all((25 * each) % 1 == pytest.approx(0, abs=1e-3) for span in found for each in span)


def test_the_best_clip_begins_on_the_downbeat_where_it_becomes_louder() -> None:
    best = suggest(MUSIC, clips=3, length_s=8).clips[0]

    assert (best.start, best.end) == (30.0, 38.0)
    assert best.label == "rise 1"
    assert best.reasons == (
        "begins on a downbeat at a scene change",
        "becomes louder there",
        "the loudest part",
        "no black",
        "no silence",
    )


def test_clips_are_the_best_first_with_scores_from_0_to_1() -> None:
    scores = [each.score for each in suggest(MUSIC, clips=6, length_s=8).clips]

    assert scores == sorted(scores, reverse=True)
    assert all(0 < each <= 1 for each in scores)


def test_clips_begin_on_first_beats_of_bars() -> None:
    found = suggest(MUSIC, clips=10, length_s=5, on="beat").clips

    assert all(each.start % BAR_S == 0 for each in found)


def test_clips_begin_on_beats_where_bars_are_not_clear() -> None:
    found = suggest(replace(MUSIC, meter=None, downbeats=()), clips=10, length_s=5)

    assert "where bars begin is not clear" in found.notes[0]
    assert all(each.start % BEAT_S == 0 for each in found.clips)


def test_black_and_silence_are_avoided() -> None:
    spoilt = replace(MUSIC, black=((33.0, 34.0),), silence=((45.0, 47.0),))

    found = suggest(spoilt, clips=3, length_s=8)

    for start, end in spans(found.clips):
        assert end <= 33.0 or start >= 34.0
        assert end <= 45.0 or start >= 47.0


def test_what_black_a_clip_has_is_told_where_no_clip_is_without() -> None:
    spoilt = replace(MUSIC, black=tuple((float(each), each + 0.5) for each in range(0, 60, 4)))

    (clip,) = suggest(spoilt, clips=1, length_s=8).clips

    assert "1.0 s of black" in clip.reasons
    assert clip.score < 0.5


@pytest.mark.parametrize(
    ("analysis", "note"),
    [
        (NO_BEAT, "The sound has no steady beat."),
        (NO_SOUND, "There is no sound, so no beat."),
        (replace(NO_BEAT, silence=((0.0, 60.0),)), "The sound is silent: no beat."),
    ],
)
def test_without_a_beat_clips_begin_on_scene_changes_and_a_note_says_so(
    analysis: Analysis, note: str
) -> None:
    found = suggest(analysis, clips=3, length_s=8, on="beat")

    assert found.notes[:2] == (note, "So clips begin on scene changes.")
    assert {each.start for each in found.clips} <= {0.0, 10.0, 30.0, 41.0}


def test_without_beats_and_scenes_clips_begin_anywhere_and_a_note_says_so() -> None:
    found = suggest(replace(NO_SOUND, scenes=()), clips=2, length_s=8)

    assert "No scene changes were found: clips begin anywhere." in found.notes
    assert len(found.clips) == 2


def test_on_scenes_without_scenes_clips_begin_on_beats_and_a_note_says_so() -> None:
    found = suggest(replace(MUSIC, scenes=()), clips=2, length_s=8, on="scene")

    assert "No scene changes were found: clips begin on beats." in found.notes
    assert all(each.start % BAR_S == 0 for each in found.clips)


def test_fewer_clips_than_asked_for_are_told() -> None:
    found = suggest(MUSIC, clips=10, length_s=15)

    assert len(found.clips) == 3
    assert found.notes[-1] == "There is room for 3 of 10 clips."


def test_a_video_as_long_as_a_clip_is_one() -> None:
    (clip,) = suggest(MUSIC, clips=2, length_s=60).clips

    assert (clip.start, clip.end) == (0.0, 60.0)


@pytest.mark.parametrize(
    ("clips", "length_s", "why"),
    [
        (10, 61.0, "The video's picture lasts 60.000 s, which is less than a clip of 61 s"),
        (0, 15.0, "0 clips can't be suggested"),
        (101, 15.0, "101 clips can't be suggested"),
        (10, 0.1, "0.1 s is too short for a clip"),
    ],
)
def test_what_cannot_be_suggested_is_refused(clips: int, length_s: float, why: str) -> None:
    with pytest.raises(MediaError, match=why):
        suggest(MUSIC, clips=clips, length_s=length_s)


@pytest.mark.parametrize("rate", [24000 / 1001, 30000 / 1001, 60.0])
def test_clips_have_whole_pictures_at_broken_rates(rate: float) -> None:
    def shown(times: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(round(round(each * rate) / rate, 6) for each in times)

    video = replace(MUSIC, rate=rate, beat_pictures=shown(BEATS), scenes=shown(MUSIC.scenes))

    found = suggest(video, clips=3, length_s=15)

    for start, end in spans(found.clips):
        assert start * rate == pytest.approx(round(start * rate), abs=1e-3)
        assert end * rate == pytest.approx(round(end * rate), abs=1e-3)
        assert end - start <= 15


@pytest.mark.parametrize("analysis", [MUSIC, NO_SOUND])
def test_the_list_reads_back_as_the_same_clips(analysis: Analysis) -> None:
    found = suggest(replace(analysis, length_s=7200.0), clips=5, length_s=4.37)

    read = parse_clip_list(clip_list(found), FileTimes(Fraction(7200), Fraction(25), None))

    assert [(each.clip.start, each.clip.end) for each in read] == [
        (Fraction(f"{each.start:.6f}"), Fraction(f"{each.end:.6f}")) for each in found.clips
    ]
    assert [each.label for each in read] == [each.label for each in found.clips]


def test_an_analysis_is_the_same_after_json() -> None:
    kept = json.loads(json.dumps(replace(MUSIC, black=((1.0, 2.0),)).to_json()))

    assert Analysis.from_json(kept) == replace(MUSIC, black=((1.0, 2.0),))
    assert Analysis.from_json(kept | {"version": 0}) is None


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysing, "missing_packages", lambda packages: list(packages))

    with pytest.raises(MediaError) as refused:
        analysing.analyse("song.mp4", video_info())

    assert str(refused.value) == "Suggestions need more packages: pip install '.[suggest]'"


def test_a_video_of_many_hours_is_refused() -> None:
    with pytest.raises(MediaError, match="longer than 3 hours"):
        analysing.analyse("song.mp4", video_info(4 * 3600.0))


@pytest.mark.parametrize("length_s", [math.inf, 1e308, math.nan])
def test_a_length_that_is_no_length_is_refused_in_a_line(length_s: float) -> None:
    with pytest.raises(MediaError):
        suggest(MUSIC, clips=1, length_s=length_s)
