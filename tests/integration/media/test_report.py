"""What is told of an output: how it was made, and what is odd about its source."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cutmv.media import (
    MediaInfo,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    parse_clip,
    plan,
    probe,
    render,
)
from tests.support.media import make_sample

SOURCE = OutputSpec("cutdown", "source", "crop")
WIDE = OutputSpec("cutdown", "16:9", "crop")
X264 = "-c:v libx264 -preset ultrafast -g 30"


def ffmpeg(options: str, *more: str) -> None:
    argv = [ffmpeg_path(), "-v", "error", "-y", *options.split(), *more]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def cut(source: Path, clip: str, spec: OutputSpec = SOURCE) -> Rendered:
    info: MediaInfo = probe(source)
    planned = plan(info, parse_clip(clip, info.times), spec)
    return render(source, planned, source.with_name("made.mp4"), timeout_s=60)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("report") / "plain.mp4", size=(320, 180))


def test_a_smart_cut_tells_what_it_copied_and_where_its_time_went(plain: Path) -> None:
    told = cut(plain, "1-5")

    assert (told.frames, told.copied, told.sound, told.reason) == (120, 100, "copied", None)
    assert told.warnings == ()
    assert {"open", "edges", "copy", "other"} <= set(told.seconds)
    assert "encode" not in told.seconds


@pytest.mark.slow
def test_a_cut_that_encodes_all_tells_so(plain: Path) -> None:
    told = cut(plain, "1-2", WIDE)

    assert (told.frames, told.copied, told.sound) == (30, 0, "copied")
    assert "edges" not in told.seconds
    assert told.seconds["encode"] > max(told.seconds["open"], told.seconds["check"])


def test_pictures_and_sound_that_the_file_lacks_are_told_of(tmp_path: Path) -> None:
    source = tmp_path / "short.mkv"
    tone = "-f lavfi -i sine=440:d=4.5"
    ffmpeg(f"-f lavfi -i testsrc2=s=320x180:r=30:d=6 {tone} {X264} -c:a aac",
           "-vf", "select='lt(t,1)+gte(t,3)'", "-fps_mode", "passthrough", str(source))  # fmt: skip

    told = cut(source, "0.5-6")

    still, silent = told.warnings
    assert still.startswith("One frame is shown from 0.467 s to 2.500 s of the clip")
    assert silent.startswith("The file has no sound for 1.49")


def test_frames_that_are_not_evenly_spaced_are_told_of(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "variable.mp4", size=(320, 180), seconds=2, vfr=True)

    (own,), (made,) = cut(source, "0-1").warnings, cut(source, "0-1", fading()).warnings

    assert own.endswith("each keeps its own time.")
    assert made.endswith("30 a second are made of them.")


def fading() -> OutputSpec:
    return OutputSpec("cutdown", "source", "crop", fade_s=0.1)


def test_what_is_done_to_pictures_is_told_where_they_are_encoded_alone(tmp_path: Path) -> None:
    source = tmp_path / "interlaced.mp4"
    fields = "-f lavfi -i testsrc2=s=320x180:r=50:d=2"
    filters = "tinterlace=interleave_top,fieldorder=tff,format=yuv420p"
    ffmpeg(f"{fields} {X264} -flags +ildct+ilme -x264opts tff=1", "-vf", filters, str(source))

    assert cut(source, "0-1.5").warnings == ()
    told = cut(source, "0-1.5", WIDE).warnings
    assert "The source is interlaced: its fields are made whole frames." in told


@pytest.mark.slow
def test_hdr_that_is_mapped_is_told_of(tmp_path: Path) -> None:
    source = tmp_path / "hdr.mp4"
    options = "-pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=error:transfer=smpte2084"
    ffmpeg(f"-f lavfi -i testsrc2=s=320x180:r=30:d=0.5 {options} {source}")

    (told,) = cut(source, "0-0.3", WIDE).warnings

    assert told.startswith("The source is HDR (PQ), and told in part, so that BT.2020 is assumed")


@pytest.mark.slow
def test_frames_that_are_damaged_are_told_of(tmp_path: Path) -> None:
    source = tmp_path / "damaged.ts"
    ffmpeg(f"-f lavfi -i testsrc2=s=320x180:r=30:d=3 {X264} {source}")
    data = bytearray(source.read_bytes())
    for at in range(len(data) // 2 // 188 * 188, len(data) * 6 // 10 // 188 * 188, 188 * 4):
        data[at + 20 : at + 188] = bytes(168)
    source.write_bytes(data)

    told = cut(source, "0-2.9", WIDE).warnings

    assert any("damaged in the file" in each for each in told)


@pytest.mark.slow
def test_key_pictures_that_are_far_away_are_told_of(tmp_path: Path) -> None:
    source = tmp_path / "endless.mp4"
    ffmpeg(f"-f lavfi -i testsrc2=s=64x36:r=2:d=60 {X264} -g 1000 {source}")

    told = cut(source, "50-52", WIDE).warnings

    far = "The nearest key picture is 50.000 s before the clip: all from there on had to be read."
    assert far in told
    assert far not in cut(source, "20-22", WIDE).warnings
