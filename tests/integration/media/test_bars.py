"""Black bars are removed where they are sure, and nothing else is."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cutmv.media import Clip, OutputSpec, Rendered, ffmpeg_path, plan, probe, render
from tests.support.media import frame_number, make_sample, read_frames

SIZE = (320, 180)
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "16", "-g", "15")


def filtered(source: Path, made: Path, filters: str, *more: str) -> Path:
    argv = [ffmpeg_path(), "-v", "error", "-y", "-i", str(source), "-vf", filters, *X264, *more]
    subprocess.run([*argv, str(made)], check=True)
    return made


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=2.0, size=SIZE)


def cut(video: Path, spec: Any, end: str = "2") -> tuple[Path, Rendered]:
    made = video.with_name("made.mp4")
    clip = Clip(Fraction("0.1"), Fraction(end))
    return made, render(video, plan(probe(video), clip, spec), made, timeout_s=60)


BARE = OutputSpec("cutdown", "source", "crop", remove_bars=True)


@pytest.mark.parametrize(
    ("bars", "rotation", "size"),
    [
        ("pad=320:240:0:30", 0, (320, 180)),
        pytest.param("pad=400:240:40:30", 90, (180, 320), marks=pytest.mark.slow),
    ],
)
def test_bars_are_removed_and_the_picture_is_left_as_it_was(
    video: Path, tmp_path: Path, bars: str, rotation: int, size: tuple[int, int]
) -> None:
    # Dark for most of its time, and never black as bars are for all of it.
    boxed = filtered(video, tmp_path / "boxed.mp4", f"fade=out:st=0.7:d=0.2,{bars}")
    if rotation:
        argv = [ffmpeg_path(), "-v", "error", "-y", "-display_rotation", str(rotation)]
        turned = tmp_path / "turned.mp4"
        subprocess.run([*argv, "-i", str(boxed), "-c", "copy", str(turned)], check=True)
        boxed = turned

    made, told = cut(boxed, BARE)

    assert (told.width, told.height) == size
    assert any("Black bars were removed" in warning for warning in told.warnings)
    assert told.reason == "its black bars are removed"
    frames = read_frames(made)
    if rotation:
        frames = np.rot90(frames, -1, axes=(1, 2))
    assert [frame_number(frame, SIZE) for frame in frames[:15]] == list(range(3, 18))
    wanted = read_frames(video)[3:8].astype(int)
    assert np.abs(frames[:5].astype(int) - wanted).mean() < 4


@pytest.mark.parametrize(
    "shown",
    [
        "drawbox=w=60:c=black:t=fill",  # dark at one side
        pytest.param("drawbox=c=black:t=fill", marks=pytest.mark.slow),  # black
        pytest.param("vignette=a=1.35", marks=pytest.mark.slow),  # dark towards all its edges
        "pad=320:240:0:30,drawbox=x=120:y=222:w=60:h=8:c=white:t=fill:enable='gte(t,1.2)'",
    ],
)
def test_what_may_be_no_bar_is_left(video: Path, tmp_path: Path, shown: str) -> None:
    whole = filtered(video, tmp_path / "whole.mp4", shown)

    made, told = cut(whole, BARE)

    assert read_frames(made, 1).shape[1:] == read_frames(whole, 1).shape[1:]
    assert told.copied > 0
    assert told.warnings == ("No black bars were found beyond doubt: the picture is left whole.",)


@pytest.mark.slow
def test_a_shape_is_made_of_what_is_inside_the_bars(video: Path, tmp_path: Path) -> None:
    boxed = filtered(video, tmp_path / "boxed.mp4", "pad=320:240:0:30")
    spec = OutputSpec("cutdown", "1:1", "crop", remove_bars=True, size=(90, 90))

    made, told = cut(boxed, spec, "0.3")

    assert (told.width, told.height) == (90, 90)
    assert read_frames(made)[0][:3].mean() > 30
