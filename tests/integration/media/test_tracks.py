"""Films of sources with several tracks of sound, texts and chapters."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from cutmv.media import (
    Clip,
    MediaError,
    Rendered,
    ffmpeg_path,
    output_extension,
    plan,
    probe,
    render,
)
from tests.support.corpus import CUT

CLIP = Clip(Fraction("0.7"), Fraction("3.6"))
SRT = """1
00:00:00,100 --> 00:00:00,600
Before

2
00:00:00,650 --> 00:00:01,500
One <i>two</i>

3
00:00:03,500 --> 00:00:03,900
Drei
und vier
"""
CHAPTERS = """;FFMETADATA1
[CHAPTER]
TIMEBASE=1/1000
START=0
END=500
title=Over
[CHAPTER]
TIMEBASE=1/1000
START=500
END=3000
title=Verse
[CHAPTER]
TIMEBASE=1/1000
START=3000
END=4000
title=Ende
"""


def made_of(
    folder: Path, name: str, texts: str, picture: tuple[str, ...], sound: str = "aac"
) -> Path:
    """Four seconds with two tracks of sound, 440 Hz (eng) and 880 Hz (deu), texts and chapters."""
    (folder / "a.srt").write_text(SRT)
    (folder / "a.meta").write_text(CHAPTERS)
    argv = [ffmpeg_path(), "-v", "error", "-y"]
    argv += ["-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=4"]
    for hertz in (440, 880):
        argv += ["-f", "lavfi", "-i", f"sine={hertz}:d=4"]
    argv += ["-i", str(folder / "a.srt"), "-i", str(folder / "a.meta"), "-map_metadata", "4"]
    argv += ["-map", "0", "-map", "1", "-map", "2", "-map", "3", *picture, "-c:a", sound]
    argv += ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]
    argv += ["-metadata:s:s:0", "language=fra", "-c:s", texts, str(folder / name)]
    subprocess.run(argv, check=True)
    return folder / name


def cut(source: Path, *audio: str) -> tuple[Path, Rendered]:
    info, spec = probe(source), replace(CUT, audio=audio)
    made = source.with_name(f"made.{output_extension(info, spec)}")
    return made, render(source, plan(info, CLIP, spec), made, timeout_s=60)


def hertz(stream: Any) -> int:
    """The pitch of a track, by how often it crosses zero in its middle second."""
    samples = [
        value
        for frame in stream.container.decode(stream)
        if 1 <= (frame.time or 0) < 2
        for value in frame.to_ndarray()[0]
    ]
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(samples))
    return round(crossings * stream.rate / len(samples), -1)


X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2")


@pytest.mark.parametrize(
    ("name", "texts", "picture", "sound", "kept"),
    [
        ("a.mp4", "mov_text", X264, "aac", "mov_text"),
        ("a.mkv", "ass", X264, "aac", "mov_text"),
        ("b.mkv", "subrip", ("-c:v", "ffv1", "-level", "3", "-g", "1"), "flac", "srt"),
        ("a.webm", "webvtt", ("-c:v", "libvpx", "-g", "10"), "libopus", "webvtt"),
    ],
)
def test_texts_and_chapters_stay_where_they_were(
    name: str, texts: str, picture: tuple[str, ...], sound: str, kept: str, tmp_path: Path
) -> None:
    made, told = cut(made_of(tmp_path, name, texts, picture, sound))

    assert told.copied > 0
    assert told.warnings == ("Left out of the film: 1 sound track (deu).",)
    with av.open(str(made)) as file:
        chapters = [
            (float(each["start"] * each["time_base"]), float(each["end"] * each["time_base"]))
            for each in file.chapters()
        ]
        assert chapters == [(0, 2.3), (2.3, 2.9)]
        assert [each["metadata"]["title"] for each in file.chapters()] == ["Verse", "Ende"]
        stream = file.streams.subtitles[0]
        assert (stream.language, stream.codec_context.name) == ("fra", kept)
        tick, shown = stream.time_base or 0, []
        for packet in file.demux(stream):
            text = bytes(packet)[2 if kept == "mov_text" else 0 :].decode()
            if text:
                shown.append((packet.pts * tick, packet.duration * tick, text))  # type: ignore[operator]
    assert [(float(at), float(length), text) for at, length, text in shown] == [
        (0, 0.8, "One two"),
        (2.8, 0.1, "Drei\nund vier"),
    ]


@pytest.mark.slow
def test_sound_tracks_are_chosen_by_number_and_language(tmp_path: Path) -> None:
    source = made_of(tmp_path, "a.mp4", "mov_text", X264)
    for wanted, languages in {
        (): ["eng"],
        ("deu",): ["deu"],
        ("all",): ["eng", "deu"],
        ("2", "ENG"): ["deu", "eng"],
        ("none",): [],
    }.items():
        made, told = cut(source, *wanted)
        left = {"eng", "deu"} - set(languages)
        assert bool(left) == bool(told.warnings), wanted
        with av.open(str(made)) as file:
            assert [each.language for each in file.streams.audio] == languages
        for place, language in enumerate(languages):
            with av.open(str(made)) as file:
                stream = file.streams.audio[place]
                assert hertz(stream) == {"eng": 440, "deu": 880}[language]
                assert float((stream.duration or 0) * (stream.time_base or 0)) == 2.9
    with pytest.raises(MediaError, match=r"no sound track 'fra': there are 1 \(eng\), 2 \(deu\)"):
        cut(source, "fra")
    with pytest.raises(MediaError, match="No sound track and others"):
        cut(source, "none", "1")


def test_tracks_that_are_encoded_side_by_side_are_each_whole(tmp_path: Path) -> None:
    source = made_of(tmp_path, "b.mkv", "subrip", X264, "ac3")
    made, told = cut(source, "all")

    assert (told.sound, told.warnings) == ("encoded", ())
    for place, pitch in enumerate((440, 880)):
        with av.open(str(made)) as file:
            assert hertz(file.streams.audio[place]) == pitch
