"""One film of clips of several sources, with a chapter for each and their texts."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cutmv.media import (
    Clip,
    FilmClip,
    MediaError,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    join,
    output_extension,
    plan_film,
    probe,
)
from tests.integration.media.test_tracks import X264, made_of
from tests.support import corpus
from tests.support.corpus import CUT, HVC1, KINDS, Kind, x264, x265
from tests.support.media import duration_s, make_sample, read_frames, shown_size

FIRST = Kind("mp4", x264("-g", "30", "-bf", "2"))
TIMES = ((0, "0.5", "1.7"), (1, "0.8", "2.3"), (0, "1.1", "2"))
CLIPS = [FilmClip(Clip(Fraction(a), Fraction(b)), f"{s}", "", s) for s, a, b in TIMES]


def film(
    sources: list[Path], clips: list[FilmClip] = CLIPS, spec: OutputSpec = CUT
) -> tuple[Path, Rendered]:
    infos = [probe(each) for each in sources]
    made = sources[0].with_name(f"film.{output_extension(infos[clips[0].source], spec)}")
    return made, join(sources, plan_film(infos, clips, spec), made)


def check(made: Path, told: Rendered, rates: tuple[int, int] = (30, 30)) -> None:
    """Each frame in its place, and the sound of each clip in its own, without a complaint."""
    length_s = float(sum(each.clip.end - each.clip.start for each in CLIPS))
    for stream in ("v:0", "a:0"):
        assert abs(duration_s(made, stream) - length_s) <= 0.001
    given, at, expected = corpus.seen(made), Fraction(0), []
    for each in CLIPS:
        rate, clip = rates[each.source], each.clip
        first = int(clip.start * rate)
        numbers = range(first, -int(-clip.end * rate // 1))
        expected += [(at + max(Fraction(0), Fraction(n, rate) - clip.start), n) for n in numbers]
        at += clip.end - clip.start
    assert given.numbers == [number for _, number in expected]
    assert max(abs(a - b) for a, (b, _) in zip(given.times, expected, strict=True)) <= 1 / 500
    assert told.frames == len(expected)
    with av.open(str(made)) as file:
        frames = list(file.decode(audio=0))
        rate = frames[0].sample_rate
        samples = np.concatenate([each.to_ndarray() for each in frames], axis=1)[0]
    at = Fraction(0)
    for each in CLIPS:
        begin, length = round(at * rate), round((each.clip.end - each.clip.start) * rate)
        t = float(each.clip.start) + np.arange(length) / rate
        wanted = np.sin(2 * np.pi * (200 * t + 30 * t * t))[rate // 10 : -rate // 10]
        alike = [
            float(samples[begin + rate // 10 + lag :][: len(wanted)] @ wanted)
            for lag in range(-200, 201)
        ]
        assert abs(int(np.argmax(alike)) - 200) <= rate // 1000
        at += each.clip.end - each.clip.start
    argv = [ffmpeg_path(), "-v", "error", "-i", str(made), "-fps_mode", "passthrough"]
    argv += ["-enc_time_base", "demux", "-f", "null", "-"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (FIRST, FIRST),
        pytest.param(
            Kind("mov", (*x264("-g", "12"), "-video_track_timescale", "30000", "-ar", "44100")),
            Kind("mkv", (*x264("-g", "12"), "-c:a", "libopus", "-ac", "1")),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Kind("mp4", x265("keyint=30:min-keyint=30:bframes=3:open-gop=0", *HVC1)),
            Kind("mkv", x265("keyint=30:min-keyint=30:bframes=3:open-gop=0")),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_sources_that_agree_are_copied(first: Kind, second: Kind, tmp_path: Path) -> None:
    sources = [
        corpus.make(kind, tmp_path / f"{name}.{kind.suffix}", seconds=3)
        for name, kind in (("a", first), ("b", second))
    ]

    made, told = film(sources)

    check(made, told)
    assert told.warnings == ()
    copied = [corpus.payloads(each) & corpus.payloads(made) for each in sources]
    assert all(each.total() > 15 for each in copied)
    assert told.copied > 50


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (
            {"rate": "25", "size": (640, 360)},
            "b.mp4 differs from a.mp4: its size is 640×360, not 320×180; it is encoded to match.",
        ),
        pytest.param(
            {"codec": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime")},
            "b.mp4 differs from a.mp4: its codec is vp9, not h264; it is encoded to match.",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"codec": x264("-g", "30", "-refs", "3", preset="fast")},
            "b.mp4 differs from a.mp4: its headers are others; it is encoded to match.",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_source_that_differs_is_encoded_to_match_the_first(
    second: dict[str, object], why: str, tmp_path: Path
) -> None:
    a = corpus.make(FIRST, tmp_path / "a.mp4", seconds=3)
    wanted = {"seconds": 3.0, "size": corpus.SIZE, "rate": "30", **second}
    b = make_sample(tmp_path / "b.mp4", **wanted)  # type: ignore[arg-type]

    made, told = film([a, b])

    check(made, told, (30, int(str(wanted["rate"]))))
    assert 0 < told.copied < told.frames
    assert (told.encoder, told.quality) == (None, None)
    assert why in told.warnings
    assert (corpus.payloads(a) & corpus.payloads(made)).total() > 15
    if "headers" not in why:
        with pytest.raises(MediaError, match=r"The clip can't be copied exactly: b\.mp4 differs"):
            film([a, b], spec=replace(CUT, exact_copy="always"))


@pytest.mark.slow
def test_what_no_picture_can_be_made_like_has_all_encoded(tmp_path: Path) -> None:
    a = corpus.make(KINDS["turned"], tmp_path / "a.mp4", seconds=3)
    b = corpus.make(FIRST, tmp_path / "b.mp4", seconds=3)

    made, told = film([a, b])

    assert (told.copied, told.width, told.height) == (0, 180, 320)
    assert told.reason == "its clips' pictures can't follow one another"
    assert shown_size(made) == (180, 320)
    assert told.frames == len(read_frames(made)) == 108


@pytest.mark.slow
def test_several_sources_are_joined_in_another_shape_and_one_may_be_silent(tmp_path: Path) -> None:
    a = corpus.make(FIRST, tmp_path / "a.mp4", seconds=3)
    b = make_sample(tmp_path / "b.mp4", seconds=3, size=(640, 360), audio=False)

    made, told = film([a, b], spec=replace(CUT, aspect="9:16"))

    assert (told.copied, told.width, told.height, told.sound) == (0, 1080, 1920, "encoded")
    assert abs(duration_s(made, "a:0") - 3.6) <= 0.001
    assert told.frames == len(read_frames(made)) == 108


def test_a_film_has_the_texts_of_its_clips_and_a_chapter_for_each(tmp_path: Path) -> None:
    source = made_of(tmp_path, "a.mp4", "mov_text", X264)
    clips = [
        FilmClip(Clip(Fraction("0.2"), Fraction(1)), "Intro", "0.2-1"),
        FilmClip(Clip(Fraction("0.7"), Fraction("3.6")), "", "0.7-3.6"),
    ]

    made, told = film([source], clips)

    assert told.warnings == ("Left out of the film: 1 sound track (deu).",)
    with av.open(str(made)) as file:
        chapters = [
            (float(each["start"] * (each["time_base"] or 1)), each["metadata"]["title"])
            for each in file.chapters()
        ]
        stream = file.streams.subtitles[0]
        texts = [
            (float((each.pts or 0) * (stream.time_base or 0)), bytes(each)[2:].decode())
            for each in file.demux(stream)
            if each.size > 2
        ]
    # The source's own chapters follow the clip's; one without a label has the name of the source's.
    assert chapters == [(0, "Intro"), (0.3, "Verse"), (0.8, "Verse"), (3.1, "Ende")]
    assert stream.language == "fra"
    assert texts == [(0, "Before"), (0.45, "One two"), (0.8, "One two"), (3.6, "Drei\nund vier")]
