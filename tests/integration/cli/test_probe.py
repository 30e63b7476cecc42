"""`cutmv probe`: what is in a file, in a screen and as JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cutmv.media import ffmpeg_path
from tests.support.command import cutmv_process
from tests.support.media import make_sample

PICTURE = "-f lavfi -i testsrc2=s=320x180:r=30:d=3"
X264 = "-c:v libx264 -preset ultrafast -g 30"


def ffmpeg(options: str) -> None:
    argv = [ffmpeg_path(), "-v", "error", "-y", *options.split()]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


def probed(source: Path) -> dict[str, Any]:
    done = cutmv_process("probe", str(source), "--json", cwd=source.parent)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_screen_shows_what_is_in_a_file(tmp_path: Path) -> None:
    plain = make_sample(tmp_path / "plain.mp4", size=(320, 180), seconds=4, rotation=90)
    source = tmp_path / "song.mp4"
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=Verse\n"
    )
    ffmpeg(f"-i {plain} -i {chapters} -map_metadata 1 -c copy -metadata:s:a language=eng {source}")

    done = cutmv_process("probe", str(source), cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) < 24
    for told in (
        "file      MP4 or QuickTime, 4.000 s",
        "picture   #0 h264 Main, level 1.3, 180×320 (coded 320×180), turned by ",
        "30 frames/s, progressive, yuv420p, colours untold, mean quantizer ",
        "a keyframe each 1.600 s; closed groups",
        "can be smart-cut",
        "sound     #1 aac LC, 48000 Hz, mono, 4.000 s, ",
        ", eng, default",
        "chapter   0.000 to 2.000 s: Verse",
        "warning   The picture does not tell its colours",
    ):
        assert told in done.stdout


@pytest.mark.slow
def test_open_groups_and_interlaced_hdr_are_told(tmp_path: Path) -> None:
    hdr = "-pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=error:transfer=smpte2084"
    ffmpeg(f"{PICTURE} {hdr}:keyint=24:min-keyint=24:bframes=3:open-gop=1 {tmp_path}/hdr.mkv")

    found = probed(tmp_path / "hdr.mkv")

    assert found["picture"]["hdr"]
    assert found["open_groups"]
    assert found["keyframes"] | {"count": 0} == {
        "count": 0, "usual_s": 0.8, "longest_s": 0.8, "all": False,
    }  # fmt: skip
    assert found["smart_cut"] == {"possible": True, "reason": None}
    assert "There is no sound." in found["warnings"]


@pytest.mark.slow
def test_why_a_file_is_encoded_whole_is_told(tmp_path: Path) -> None:
    ffmpeg(f"{PICTURE} -c:v mpeg4 {tmp_path}/old.avi")

    smart = probed(tmp_path / "old.avi")["smart_cut"]

    assert not smart["possible"]
    assert "mpeg4" in smart["reason"]


def test_a_file_without_a_picture_is_shown_and_refused(tmp_path: Path) -> None:
    ffmpeg(f"-f lavfi -i sine=440:d=1 -c:a aac {tmp_path}/song.mp4")

    found = probed(tmp_path / "song.mp4")

    assert found["refused"] == "The file has no picture: send a video."
    assert [each["type"] for each in found["streams"]] == ["audio"]


def test_a_file_that_is_cut_short_is_told_of(tmp_path: Path) -> None:
    ffmpeg(f"{PICTURE} {X264} -movflags +faststart {tmp_path}/whole.mp4")
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "short.mp4").write_bytes(data[: len(data) * 2 // 3])

    (told,) = [w for w in probed(tmp_path / "short.mp4")["warnings"] if "cut short" in w]

    assert float(told.split()[-2]) == pytest.approx(2, abs=0.3)


def test_pictures_that_are_shown_in_another_order_are_no_jump(tmp_path: Path) -> None:
    ffmpeg(f"{PICTURE} {X264} -bf 3 -frames:v 20 {tmp_path}/a.mkv")  # which tells no decoding times

    assert not [each for each in probed(tmp_path / "a.mkv")["warnings"] if "jumps" in each]


def test_what_is_no_video_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>")

    done = cutmv_process("probe", "page.mp4", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The file is no video")
