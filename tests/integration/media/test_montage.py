"""One film of many clips of a source."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutmv.media import (
    Clip,
    FilmClip,
    MediaError,
    ffmpeg_path,
    join,
    output_extension,
    plan_film,
    probe,
)
from tests.support import corpus
from tests.support.corpus import CUT, KINDS
from tests.support.media import duration_s, frame_number, read_frames, start_s

#: Backward and forward, one twice, one without a key picture.
TIMES = (("2.013", "2.922"), ("0.5", "1.95"), ("1.1", "1.3"), ("2.013", "2.922"))
CLIPS = [FilmClip(Clip(Fraction(start), Fraction(end))) for start, end in TIMES]


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        ("pyramid", True),
        pytest.param("hevc", True, marks=pytest.mark.slow),
        *(
            pytest.param(name, copies, marks=pytest.mark.slow)
            for name, copies in {
                "groups of 12": True,
                "open groups": False,
                "one group": False,
                "variable rate": True,
                "transport stream": True,
                "turned": True,
                "interlaced": True,
                "ten bits": True,
                "hevc, open": True,
                "hevc, matroska": True,
                "vp9, opus": True,
                "av1": True,
                "mpeg2": True,
                "prores, wav": True,
                "ffv1": True,
                "vp8": True,
                "avi": False,
            }.items()
        ),
    ],
)
def test_a_film_shows_each_clip_in_its_place(name: str, copies: bool, tmp_path: Path) -> None:
    kind = KINDS[name]
    source = corpus.make(kind, tmp_path / f"source.{kind.suffix}", seconds=3)
    info = probe(source)
    made = tmp_path / f"film.{output_extension(info, CUT)}"

    told = join([source], plan_film([info], CLIPS, CUT), made)

    whole = corpus.truth(source)
    own_clock = source.suffix in (".ts", ".avi")
    zero = whole.times[0] if own_clock else max(Fraction(0), Fraction(start_s(source)))
    expected, begins = [], Fraction(0)
    for clip in (each.clip for each in CLIPS):
        start, end = zero + clip.start, zero + clip.end
        begun = sum(at <= start for at in whole.times)
        expected += [
            (begins + max(Fraction(0), at - start), number)
            for place, (at, number) in enumerate(zip(whole.times, whole.numbers, strict=True))
            if at < end and place >= begun - 1
        ]
        begins += clip.end - clip.start
    given = corpus.seen(made, kind.rotation)
    assert given.numbers == [number for _, number in expected]
    late = max(abs(a - b) for a, (b, _) in zip(given.times, expected, strict=True))
    assert late <= Fraction(1, 500)
    assert told.frames == len(expected)
    assert abs(told.duration_s - float(begins)) <= 0.001
    if made.suffix in (".mp4", ".mov"):
        for stream in ("v:0", "a:0"):
            assert abs(duration_s(made, stream) - float(begins)) <= 0.001, stream
    assert bool(told.copied) == copies
    if copies and kind.suffix != "ts" and "hevc" not in name:
        # A clip that is there twice has its packets twice.
        twice = corpus.payloads(source) + corpus.payloads(source)
        assert (corpus.payloads(made) & twice).total() >= told.copied
    argv = [ffmpeg_path(), "-v", "error", "-i", str(made), "-fps_mode", "passthrough"]
    argv += ["-enc_time_base", "demux", "-f", "null", "-"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stderr == ""


def samples(path: Path) -> NDArray[np.int16]:
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
    return np.concatenate(frames, axis=1)[0]


@pytest.mark.slow
def test_the_sound_of_a_film_is_one_piece_without_a_click(tmp_path: Path) -> None:
    kind = KINDS["quicktime, wav"]
    source = corpus.make(kind, tmp_path / "source.mov", seconds=3)
    info, made = probe(source), tmp_path / "film.mov"

    join([source], plan_film([info], CLIPS, CUT), made)

    rate, dip = 48_000, 150
    given, whole, at = samples(made), samples(source), 0
    for place, clip in enumerate(each.clip for each in CLIPS):
        first, length = round(clip.start * rate), round((clip.end - clip.start) * rate)
        wanted, part = whole[first : first + length], given[at : at + length]
        begin, end = (dip if place else 0), (length - dip if place < 3 else length)
        # Sample by sample the source's own, but for a few thousandths of a second at a join.
        tick = round(rate / 12288) + 1  # the picture's clock rounds a clip's start
        lags = [
            lag
            for lag in range(-tick, tick + 1)
            if np.array_equal(whole[first + lag + begin : first + lag + end], part[begin:end])
        ]
        assert lags, f"clip {place}"
        if place:
            assert abs(int(part[0])) < 300
        if place < 3:
            assert abs(int(part[-1])) < 300
        assert np.abs(wanted).max() > 10_000
        at += length
    assert abs(len(given) - at) <= 1


@pytest.mark.slow
def test_clips_are_joined_in_another_shape_too(tmp_path: Path) -> None:
    source = corpus.make(KINDS["groups of 12"], tmp_path / "source.mp4", seconds=3)
    made, spec = tmp_path / "film.mp4", replace(CUT, aspect="1:1")

    told = join([source], plan_film([probe(source)], CLIPS[:2], spec), made)

    assert (told.copied, told.width, told.height) == (0, 1080, 1080)
    numbers = [frame_number(image, corpus.SIZE) for image in read_frames(made)]
    assert numbers == [*range(60, 88), *range(15, 59)]


def test_what_can_not_be_one_film_is_refused(tmp_path: Path) -> None:
    source = corpus.make(KINDS["every picture a key"], tmp_path / "source.mp4", seconds=1)
    info, clip = probe(source), [FilmClip(Clip(Fraction(0), Fraction(1, 2)))]

    for spec, why in (
        (replace(CUT, kind="gif"), "joined into films, and gif is none"),
        (replace(CUT, fade_s=0.1), "can't fade"),
        (replace(CUT, longest_s=0.9, preset="x"), "the preset x takes 0.9 s"),
    ):
        with pytest.raises(MediaError, match=why):
            plan_film([info], clip * 2, spec)
