"""Pictures are encoded as finely as their source: neither a master nor a poor file at one CRF."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import pytest

from cutmv.media import (
    FilmClip,
    MediaInfo,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    join,
    parse_clip,
    plan,
    plan_film,
    probe,
    render,
)
from tests.support.media import make_sample

SIZE = (320, 180)
FADED = OutputSpec("cutdown", "source", "crop", fade_s=0.1)
WHOLE = OutputSpec("cutdown", "source", "crop", exact_copy="never")
#: How x264 is told to work, but for the quality.
OURS = "-c:v libx264 -preset superfast -x264-params mbtree=1:rc-lookahead=10"
#: Kinds of pictures: moving shapes under grain, a fractal, cells, colours that flow.
KINDS = {
    "grain": "testsrc2=s=320x180:r=25:d=2,noise=alls=8:allf=t",
    "shapes": "testsrc2=s=320x180:r=25:d=2",
    "fractal": "mandelbrot=s=320x180:r=25:end_pts=100,trim=end_frame=50",
    "cells": "life=s=320x180:r=25:mold=10:ratio=0.2:seed=3:life_color=#f0e080,trim=end_frame=50",
    # Of colours that are not given, each run has others.
    "colours": "gradients=s=320x180:r=25:d=2:seed=7:speed=0.05:n=4"
    ":c0=navy:c1=orange:c2=teal:c3=crimson",
}


def encoded(made: Path, picture: str, codec: str) -> Path:
    inputs = ["-i", picture] if Path(picture).exists() else ["-f", "lavfi", "-i", picture]
    argv = [ffmpeg_path(), "-v", "error", "-y", *inputs, "-pix_fmt", "yuv420p", *codec.split()]
    subprocess.run([*argv, str(made)], check=True, stdin=subprocess.DEVNULL)
    return made


def cut(source: Path, made: Path, spec: OutputSpec, info: MediaInfo | None = None) -> Rendered:
    info = info or probe(source)
    return render(source, plan(info, parse_clip("0-2", info.times), spec), made, timeout_s=60)


def psnr(one: Path, other: Path) -> float:
    graph = "[0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N[b];[a][b]psnr"
    argv = [ffmpeg_path(), "-i", str(one), "-i", str(other), "-lavfi", graph, "-f", "null", "-"]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stderr
    return float(re.findall(r"PSNR y:(\S+)", told)[-1])


def quantizer(source: Path) -> float | None:
    video = probe(source).video
    assert video is not None
    return video.quantizer


def test_a_film_tells_what_encoded_it_how_finely_and_why(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "fine.mp4", size=SIZE, seconds=2, audio=False)
    video = probe(source).video
    assert video is not None
    assert video.quantizer is not None

    faded = cut(source, tmp_path / "faded.mp4", FADED)
    copied = cut(source, tmp_path / "copied.mp4", replace(FADED, fade_s=0))

    told = re.fullmatch(
        r"CRF (\d+): the source is as x264 makes one at CRF (\d+) \(mean quantizer ([\d.]+), .*\)",
        faded.quality or "",
    )
    assert told is not None
    assert int(told[1]) == max(16, int(told[2]) - 3)
    assert told[3] == f"{video.quantizer:.3g}"
    assert faded.encoder == "libx264"
    assert (copied.encoder, copied.quality) == (None, None)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "-g 12"),
        pytest.param("a.mkv", "-g 12", marks=pytest.mark.slow),
        pytest.param("a.ts", "-g 250", marks=pytest.mark.slow),
        pytest.param("a.avi", "-g 12 -bf 0", marks=pytest.mark.slow),
    ],
)
def test_the_mean_quantizer_follows_the_source(name: str, codec: str, tmp_path: Path) -> None:
    found = [
        quantizer(
            encoded(tmp_path / f"{crf}{name}", KINDS["grain"], f"-c:v libx264 -crf {crf} {codec}")
        )
        for crf in (14, 33)
    ]

    fine, coarse = (each or 0.0 for each in found)
    assert 14 < fine < 20
    assert coarse - fine == pytest.approx(33 - 14, abs=2.5)


@pytest.mark.slow
def test_a_black_beginning_does_not_tell_how_fine_the_rest_is(tmp_path: Path) -> None:
    black = "color=black:s=320x180:r=25:d=2[b];testsrc2=s=320x180:r=25:d=4,noise=alls=20:allf=t[n]"
    picture = f"{black};[b][n]concat"

    coarse = "-c:v libx264 -crf 34 -g 25"
    of_index = quantizer(encoded(tmp_path / "a.mp4", picture, coarse))
    without = quantizer(encoded(tmp_path / "a.ts", picture, coarse))

    assert (of_index or 0) > 32
    assert without is None


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["libx265 -x265-params log-level=error", "prores_ks", "ffv1"])
def test_what_tells_no_quantizer_is_encoded_by_its_bits(codec: str, tmp_path: Path) -> None:
    source = encoded(tmp_path / "a.mkv", KINDS["grain"], f"-c:v {codec}")

    told = cut(source, tmp_path / "made.mp4", replace(FADED, fade_s=0.1))

    assert re.match(r"CRF 1[6-9]: the source has [\d.]+ bits a pixel", told.quality or "")


@pytest.mark.slow
def test_clips_of_several_sources_have_each_its_own_quality(tmp_path: Path) -> None:
    fine, coarse = (
        encoded(tmp_path / f"{crf}.mp4", KINDS["grain"], f"-c:v libx264 -crf {crf}")
        for crf in (14, 33)
    )
    clips = [FilmClip(parse_clip("0-2", probe(fine).times), source=place) for place in (0, 1)]
    spec = OutputSpec("cutdown", "1:1", "crop", size=(180, 180), join=True)
    film = plan_film([probe(fine), probe(coarse)], clips, spec)

    join([fine, coarse], film, tmp_path / "made.mp4")

    with av.open(str(tmp_path / "made.mp4")) as made:
        sizes = [packet.size for packet in made.demux(video=0) if packet.size]
    assert len(sizes) == 100
    assert sum(sizes[50:]) < 0.3 * sum(sizes[:50])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_master_stays_one_and_a_poor_file_costs_less(kind: str, tmp_path: Path) -> None:
    original = encoded(tmp_path / "original.mkv", KINDS[kind], "-c:v libx264 -qp 0")
    sizes: dict[int, float] = {}
    for crf in (14, 23, 33):
        source = encoded(tmp_path / f"{crf}.mp4", str(original), f"-c:v libx264 -crf {crf}")
        usual = encoded(tmp_path / "20.mp4", str(source), "-c:v libx264 -preset veryfast -crf 20")
        alike = encoded(tmp_path / "alike.mp4", str(source), f"{OURS} -crf 20")
        made = tmp_path / "made.mp4"
        cut(source, made, WHOLE)
        sizes[crf] = made.stat().st_size / alike.stat().st_size
        kept = psnr(made, original)
        if crf == 14:
            assert kept > psnr(usual, original) + 1
        else:
            assert kept > psnr(source, original) - 3
    assert sizes[14] > 1.15
    assert 0.85 < sizes[23] < 1.35
    assert sizes[33] < 0.85


@pytest.mark.parametrize(("codec", "made"), [("libx264", "mp4"), ("libvpx-vp9", "webm")])
def test_a_key_picture_comes_every_two_seconds_however_still_it_is(
    codec: str, made: str, tmp_path: Path
) -> None:
    """A player seeks by these, and the check of an output decodes no more than that."""
    told = f"-c:v {codec} -g 250" + (" -deadline realtime -cpu-used 8" if made == "webm" else "")
    source = encoded(tmp_path / f"still.{made}", "color=teal:s=320x180:r=25:d=5", told)
    film = tmp_path / f"film.{made}"
    info = probe(source)
    render(source, plan(info, parse_clip("0-5", info.times), WHOLE), film, timeout_s=60)
    with av.open(str(film)) as file:
        video = file.streams.video[0]
        keys = [packet.pts for packet in file.demux(video) if packet.is_keyframe]
        seconds = [round(float((key or 0) * (video.time_base or 0)), 3) for key in keys]
    assert seconds == [0.0, 2.0, 4.0]
