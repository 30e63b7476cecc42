"""A film made in parts is the one that is made in one piece: no picture, time or sound differs."""

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
    MediaInfo,
    OutputSpec,
    Part,
    Rendered,
    Unjoinable,
    divide,
    entries,
    ffmpeg_path,
    plan,
    probe,
    render,
    wanted_starts,
)
from cutmv.media.products.containers import CONTAINERS
from cutmv.media.products.encoders import Encoder
from tests.support.corpus import KINDS, SIZE, make
from tests.support.media import duration_s, frame_number, frame_times, read_frames

CLIP = Clip(Fraction("0.51"), Fraction("9.3"))
SHAPE = OutputSpec("cutdown", "9:16", "crop", size=(180, 320))


def in_parts(
    source: Path, info: MediaInfo, spec: OutputSpec, folder: Path
) -> tuple[list[Part], list[Rendered]]:
    whole = plan(info, CLIP, spec)
    spans = divide(whole, 5, entries(source, info, wanted_starts(whole, 5)))
    parts, told = [], []
    for number, span in enumerate(spans):
        planned, path = plan(info, CLIP, spec, part=span), folder / f"part-{number}.mp4"
        told.append(render(source, planned, path, timeout_s=60))
        parts.append(Part(str(path), planned.start))
    return parts, told


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.audio[0])]


SLOW = [
    pytest.param(kind, change, marks=pytest.mark.slow)
    for kind in (
        "groups of 12", "29.97", "milliseconds", "variable rate", "transport stream", "turned",
        "trimmed", "hevc, open", "vp9, hidden pictures", "prores", "interlaced",
        "mpeg2, interlaced",
    )
    for change in ({}, {"fade_s": 1.0}, {"fastest": 15})
][1:]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "change"), [("groups of 12", {}), *SLOW], ids=str)
def test_a_film_of_parts_is_the_one_of_one_piece(
    kind: str, change: dict[str, float], tmp_path: Path
) -> None:
    source = make(KINDS[kind], tmp_path / f"source.{KINDS[kind].suffix}")
    info, spec = probe(source), replace(SHAPE, **change)  # type: ignore[arg-type]
    whole, joined = tmp_path / "whole.mp4", tmp_path / "joined.mp4"

    parts, told = in_parts(source, info, spec, tmp_path)
    rendered = render(source, plan(info, CLIP, spec), joined, timeout_s=60, parts=parts)
    render(source, plan(info, CLIP, spec), whole, timeout_s=60)

    assert len(parts) > 2
    assert frame_times(joined) == frame_times(whole)
    shown, expected = read_frames(joined), read_frames(whole)
    assert shown.shape == expected.shape
    assert rendered.frames == len(shown) == sum(each.frames for each in told)
    bright = slice(30, -30) if "fade_s" in change else slice(None)
    numbers = [[frame_number(each, SIZE) for each in film[bright]] for film in (shown, expected)]
    assert kind == "turned" or numbers[0] == numbers[1]
    # At the seams as elsewhere: as near as two encodings are.
    assert np.abs(shown.astype(int) - expected).mean(axis=(1, 2)).max() < 2.0
    assert sound(joined) == sound(whole)
    for stream in ("v:0", "a:0"):
        assert duration_s(joined, stream) == duration_s(whole, stream)
    argv = [ffmpeg_path(), "-v", "error", "-i", str(joined), "-f", "null", "-"]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("fade_s", [0.0, 0.5])
@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_fields_at_the_seams_are_made_whole_as_within_a_part(
    codec: str, fade_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = replace(CONTAINERS["mp4"], encoder=Encoder("libx264", "-preset ultrafast -qp 0"))
    monkeypatch.setitem(CONTAINERS, "mp4", exact)
    # Each field has a time of its own.
    moving = "testsrc2=s=160x90:r=50:d=10,scale=160:96,tinterlace=interleave_top,fieldorder=tff"
    source = tmp_path / "fields.ts"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", moving, "-c:v", codec, "-g", "25"]
    tff = ["-x264-params", "tff=1"] if codec == "libx264" else []
    subprocess.run([*argv, "-flags", "+ildct+ilme", *tff, "-q:v", "2", str(source)], check=True)
    info = probe(source)
    spec = OutputSpec("cutdown", "9:16", "pad", size=(90, 160), fade_s=fade_s)

    parts, _ = in_parts(source, info, spec, tmp_path)
    render(source, plan(info, CLIP, spec), tmp_path / "made.mp4", timeout_s=60, parts=parts)
    render(source, plan(info, CLIP, spec), tmp_path / "whole.mp4", timeout_s=60)

    assert info.video
    assert info.video.interlaced
    assert len(parts) > 2
    joined, whole = (read_frames(tmp_path / f"{name}.mp4") for name in ("made", "whole"))
    assert len(joined) == len(whole)
    assert [place for place, pair in enumerate(zip(joined, whole, strict=True))
            if (pair[0] != pair[1]).any()] == []  # fmt: skip


@pytest.mark.slow
def test_parts_that_are_not_those_of_the_film_are_refused(tmp_path: Path) -> None:
    source = make(KINDS["groups of 12"], tmp_path / "source.mp4")
    info = probe(source)
    parts, _ = in_parts(source, info, SHAPE, tmp_path)
    smaller = plan(info, CLIP, replace(SHAPE, size=(90, 160)), part=(Fraction(0), CLIP.start))
    other, damaged, made = (tmp_path / f"{name}.mp4" for name in ("other", "damaged", "made"))
    render(source, smaller, other, timeout_s=60)
    damaged.write_bytes(b"no film at all")

    for wrong in (
        parts[1:],
        [*parts, parts[-1]],
        [Part(str(other), parts[0].start), *parts[1:]],
        [*parts[:-1], Part(str(damaged), parts[-1].start)],
    ):
        with pytest.raises(Unjoinable):
            render(source, plan(info, CLIP, SHAPE), made, timeout_s=60, parts=wrong)
        assert not made.exists()
