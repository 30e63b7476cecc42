"""What a small file can claim, and what is read of it."""

from __future__ import annotations

import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import (
    Clip,
    MediaError,
    MediaUnavailable,
    OutputSpec,
    ffmpeg_path,
    plan,
    probe,
    render,
)
from tests.support.media import make_sample

CUT = OutputSpec("cutdown", "source", "crop")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("limits") / "v.mp4", seconds=2, size=(64, 64))


def test_a_decoder_that_is_not_listed_reads_nothing(tmp_path: Path) -> None:
    game = tmp_path / "game.avi"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x240:d=0.5"]
    subprocess.run([*argv, "-c:v", "snow", "-strict", "-2", str(game)], check=True)
    with pytest.raises(MediaError, match=r"codec is not supported: convert it to H\.264"):
        probe(game)


def test_a_longer_video_than_is_read_is_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTMV_MAX_FILE_SECONDS", "1")
    with pytest.raises(MediaError, match=r"lasts 0\.0 hours: at most .* \(CUTMV_MAX_FILE_SECONDS"):
        probe(video)


def test_a_small_file_that_lasts_for_days_is_refused(tmp_path: Path) -> None:
    held = tmp_path / "held.mp4"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:r=1:d=5"]
    argv += ["-vf", "setpts=PTS*36000", "-fps_mode", "passthrough", "-c:v", "mpeg4", str(held)]
    subprocess.run(argv, check=True)
    assert held.stat().st_size < 50_000
    with pytest.raises(MediaError, match=r"lasts \d+\.\d hours: at most 24 are read"):
        probe(held)


def test_a_larger_picture_than_is_read_is_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTMV_MAX_FILE_PIXELS", "4095")
    with pytest.raises(MediaError, match=r"64×64 pixels: at most 4,095 are read \(CUTMV_MAX"):
        probe(video)


def test_a_picture_of_all_that_a_header_can_say_is_refused(tmp_path: Path) -> None:
    image = make_sample(
        tmp_path / "s.mov",
        seconds=0.2,
        size=(64, 64),
        audio=False,
        codec=("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    )
    whole = bytearray(image.read_bytes())
    # The size in the container's description, and in each picture's header (SOF0).
    place = whole.index(b"jpeg", whole.index(b"stsd"))
    whole[place + 28 : place + 32] = struct.pack(">HH", 0xFFFF, 0xFFFF)
    place = -1
    while (place := whole.find(b"\xff\xc0\x00\x11\x08", place + 1)) > 0:
        whole[place + 5 : place + 9] = struct.pack(">HH", 0xFFFF, 0xFFFF)
    image.write_bytes(whole)
    with pytest.raises(MediaError, match=r"pixels: at most|picture can't be read"):
        probe(image)


def test_streams_by_the_hundred_are_refused(tmp_path: Path) -> None:
    many = tmp_path / "many.mkv"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:d=0.2"]
    argv += ["-f", "lavfi", "-i", "anullsrc=d=0.2", "-map", "0", *["-map", "1"] * 110]
    subprocess.run([*argv, "-c:a", "pcm_u8", str(many)], check=True)
    with pytest.raises(MediaError, match=r"more than 100 streams \(CUTMV_MAX_FILE_STREAMS\)"):
        probe(many)


def test_more_packets_than_are_noted_are_refused(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(video)
    monkeypatch.setenv("CUTMV_MAX_FILE_PACKETS", "20")
    with pytest.raises(MediaError, match=r"more than 20 packets .* \(CUTMV_MAX_FILE_PACKETS\)"):
        render(video, plan(info, Clip(Fraction(0), Fraction(2)), CUT), tmp_path / "m.mp4",
               timeout_s=60)  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_child_has_the_memory_that_is_set(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTMV_MAX_CHILD_BYTES", str(300_000_000))
    with pytest.raises((MediaError, MediaUnavailable)):
        probe(video)
    monkeypatch.setenv("CUTMV_MAX_CHILD_BYTES", "much")
    with pytest.raises(MediaUnavailable, match="'much': use a whole number above 0"):
        probe(video)
