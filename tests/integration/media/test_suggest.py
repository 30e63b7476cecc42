"""What is seen and heard in music videos of which all is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cutmv.media import Cancelled, MediaError, RenderTimeout, probe
from cutmv.media.suggestions import Analysis, analyse, suggest
from tests.support.media import make_sample
from tests.support.music import RATE, Film, Samples, clicks, make_film, speech

#: Numbers of pictures with which scenes begin.
CUTS = (50, 137, 300, 476, 525, 603, 800, 901)
BLACK, SILENCE, SECONDS, LOUDER_S = (30.0, 31.2), (12.25, 14.25), 40.0, 20.0


def music(bpm: float = 120, seconds: float = SECONDS) -> Samples:
    """Clicks that become louder at LOUDER_S."""
    sound = clicks(bpm, seconds)
    sound[: round(LOUDER_S * RATE)] *= 0.35
    return sound


def analysed(path: Path) -> Analysis:
    return analyse(path, probe(path))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    film = Film(SECONDS, cuts=CUTS, black=(BLACK,))
    path = tmp_path_factory.mktemp("music") / "song.mp4"
    return make_film(path, film, music(), silent=(SILENCE,))


@pytest.fixture(scope="module")
def analysis(video: Path) -> Analysis:
    return analysed(video)


def share_within(found: tuple[float, ...], true: np.ndarray, within: float) -> float:  # type: ignore[type-arg]
    return float(np.mean([np.abs(np.array(found) - each).min() <= within for each in true]))


def test_scene_changes_are_found_to_the_picture(analysis: Analysis) -> None:
    black = [round(each * 25) for each in BLACK]

    assert [round(each * 25, 3) for each in analysis.scenes] == sorted([*CUTS, *black])


def test_black_and_silence_are_found_to_a_tenth_of_a_second(analysis: Analysis) -> None:
    assert analysis.black == (pytest.approx(BLACK, abs=0.04),)
    # The last click before it has rung out: with it the noise ends.
    assert analysis.silence == (pytest.approx(SILENCE, abs=0.1),)


def test_beats_and_first_beats_are_found_to_50_ms(analysis: Analysis) -> None:
    true = np.arange(0, SECONDS - 0.1, 0.5)
    true = true[(true < SILENCE[0]) | (true > SILENCE[1])]

    assert (analysis.tempo, analysis.meter) == (pytest.approx(120, abs=0.5), 4)
    assert share_within(analysis.beats, true, 0.05) >= 0.9
    assert share_within(tuple(true), np.array(analysis.beats), 0.05) >= 0.9
    assert share_within(tuple(true[true % 2 == 0]), np.array(analysis.downbeats), 0.05) >= 0.9
    assert not any(SILENCE[0] + 0.1 < beat < SILENCE[1] - 0.1 for beat in analysis.beats)


def test_clips_begin_on_pictures_and_beats_and_the_best_where_it_becomes_louder(
    analysis: Analysis,
) -> None:
    found = suggest(analysis, clips=3, length_s=5).clips

    assert found[0].start == pytest.approx(LOUDER_S, abs=0.05)
    assert "becomes louder there" in found[0].reasons
    for each in found:
        assert each.start * 25 == pytest.approx(round(each.start * 25), abs=1e-3)
        assert each.start % 2 == pytest.approx(0, abs=0.11) or each.start % 2 > 1.89
        assert not (each.start < BLACK[1] and each.end > BLACK[0])
        assert not (each.start < SILENCE[1] and each.end > SILENCE[0])


def test_a_cancelled_analysis_ends_at_once(video: Path) -> None:
    with pytest.raises(Cancelled):
        analyse(video, probe(video), cancelled=lambda: True)


def test_an_analysis_that_takes_too_long_is_ended(video: Path) -> None:
    with pytest.raises(RenderTimeout):
        analyse(video, probe(video), timeout_s=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "dropped", "suffix"),
    [
        pytest.param(Fraction(30000, 1001), frozenset(), ".mp4", id="29.97"),
        pytest.param(Fraction(30), frozenset(range(1, 900, 3)), ".mkv", id="variable"),
        pytest.param(Fraction(25), frozenset(), ".ts", id="transport stream"),
        pytest.param(Fraction(25), frozenset(), ".avi", id="avi"),
    ],
)
def test_times_are_right_in_each_kind_of_video(
    tmp_path: Path, rate: Fraction, dropped: frozenset[int], suffix: str
) -> None:
    cuts = (60, 201, 402, 600)
    film = Film(30, rate, cuts=cuts, dropped=dropped)
    path = make_film(tmp_path / f"film{suffix}", film, clicks(120, 30))

    found = analysed(path)

    assert found.scenes == pytest.approx([float(cut / rate) for cut in cuts], abs=0.6 / rate)
    assert share_within(found.beats, np.arange(0, 29.9, 0.5), 0.05) >= 0.9
    for each in suggest(found, clips=3, length_s=5).clips:
        number = round(each.start * rate)
        assert each.start == pytest.approx(float(number / rate), abs=0.001)
        assert number not in dropped


@pytest.mark.slow
@pytest.mark.parametrize("bpm", [87, 174])
def test_tempos_that_are_an_octave_apart_are_told_apart(tmp_path: Path, bpm: float) -> None:
    found = analysed(make_film(tmp_path / "song.mp4", Film(20), clicks(bpm, 20)))

    assert found.tempo == pytest.approx(bpm, rel=0.005)


@pytest.mark.slow
def test_a_rotated_video_is_as_one_that_is_not(tmp_path: Path) -> None:
    path = make_sample(tmp_path / "phone.mp4", seconds=6, rotation=90)

    found = analysed(path)

    assert found.end == pytest.approx(6, abs=0.05)
    assert suggest(found, clips=1, length_s=3).clips[0].start >= 0


@pytest.mark.slow
def test_sound_that_is_opposed_in_its_channels_is_no_silence(tmp_path: Path) -> None:
    path = tmp_path / "opposed.mkv"
    left = (0.3 * np.sin(np.arange(5 * RATE) * 0.06)).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        audio = container.add_stream("flac", rate=RATE, layout="stereo")
        for number in range(125):
            frame = av.VideoFrame(320, 180, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        both = (np.stack([left, -left]).T.reshape(1, -1) * 32767).astype(np.int16)
        piece = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        piece.sample_rate, piece.pts = RATE, 0
        container.mux(audio.encode(piece))
        container.mux(audio.encode(None))

    found = analysed(path)

    assert found.silence == ()
    assert max(found.loudness) > -20


@pytest.mark.slow
def test_speech_has_no_beat(tmp_path: Path) -> None:
    path = make_film(tmp_path / "talk.mp4", Film(20, cuts=(100, 300)), speech(20))

    notes = suggest(analysed(path), clips=2, length_s=5).notes

    assert notes[0] == "The sound has no steady beat."


@pytest.mark.slow
def test_a_damaged_video_gives_what_is_there_or_one_line(tmp_path: Path) -> None:
    path = make_film(tmp_path / "song.mkv", Film(20, cuts=(100, 300)), clicks(120, 20))
    whole = bytearray(path.read_bytes())
    dice = np.random.default_rng(5)
    for place in dice.integers(5000, len(whole), 200):
        whole[place] = dice.integers(0, 256)
    path.write_bytes(whole)

    try:
        found = analysed(path)
    except MediaError as error:
        assert "\n" not in str(error)
    else:
        assert 0 < found.end <= found.length_s


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_one_still_under_a_song_is_cut_on_the_beat(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"still{suffix}"
    last = 20 * 25 - 1
    film = Film(20, dropped=frozenset(range(1, last)))
    make_film(path, film, clicks(120, 20))

    found = suggest(analysed(path), clips=2, length_s=5)

    assert found.notes[0].startswith("About 120 beats a minute")
    assert len(found.clips) == 2
    for each in found.clips:
        assert each.start % 0.5 == pytest.approx(0, abs=0.05) or each.start % 0.5 > 0.45


@pytest.mark.slow
def test_clips_of_a_file_that_is_cut_short_lie_in_what_is_there(tmp_path: Path) -> None:
    whole = make_sample(tmp_path / "whole.mp4", seconds=12)
    fast = tmp_path / "short.mp4"
    with (
        av.open(str(whole)) as source,
        av.open(str(fast), "w", options={"movflags": "faststart"}) as made,
    ):
        streams = {each.index: made.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size // 2])

    found = analysed(fast)
    clips = suggest(found, clips=3, length_s=1).clips

    assert found.end < 9
    assert max(each.end for each in clips) <= found.end


@pytest.mark.slow
@pytest.mark.parametrize("rate", [Fraction(1, 5), Fraction(2), Fraction(240), Fraction(1000)])
def test_slow_and_fast_pictures_are_looked_at(tmp_path: Path, rate: Fraction) -> None:
    seconds = max(2.0, float(12 / rate)) if rate < 5 else 2.0
    path = make_film(tmp_path / "odd.mkv", Film(seconds, rate), clicks(120, seconds))

    found = suggest(analysed(path), clips=2, length_s=1)

    assert found.clips


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_sound_that_begins_late_and_has_a_hole_is_heard_at_its_time(
    tmp_path: Path, suffix: str
) -> None:
    missing = ((0.0, 3.0), (15.0, 18.0))
    path = make_film(tmp_path / f"holes{suffix}", Film(30), clicks(120, 30), missing=missing)

    found = analysed(path)

    assert [each[0] for each in found.silence] == pytest.approx([0, 15], abs=0.15)
    assert [each[1] for each in found.silence] == pytest.approx([3, 18], abs=0.15)
    for start, end in ((3.5, 14.5), (18.5, 29)):
        true = np.arange(start, end, 0.5)
        assert share_within(found.beats, true, 0.05) >= 0.9
