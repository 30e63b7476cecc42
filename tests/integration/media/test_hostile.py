"""What FFmpeg must not do: read what it is not given, run on, or leave anything behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import (
    Cancelled,
    Clip,
    MediaError,
    OutputSpec,
    Progress,
    RenderTimeout,
    ffmpeg_path,
    plan,
    probe,
    render,
)
from cutmv.media.running import engine_process
from tests.support.media import make_sample
from tests.support.processes import slowness, wait_for

CUT = OutputSpec("cutdown", "9:16", "crop")

ROOT = Path(__file__).parents[3]

RENDER = """
import sys
from fractions import Fraction
from pathlib import Path
from cutmv.media import Clip, OutputSpec, plan, probe, render
source, made = sys.argv[1:]
clip = Clip(Fraction(0), Fraction(20))
print("ready", flush=True)
render(source, plan(probe(source), clip, OutputSpec("cutdown", "9:16", "crop")), Path(made),
       timeout_s=600)
"""

#: The engine, with a bug.
BROKEN = f"""
import sys
from types import ModuleType
for name in ("cutmv", "cutmv.media"):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [{str(ROOT)!r} + "/" + name.replace(".", "/")]
from cutmv.media.engine import main
main.look = lambda wanted: 1 // 0
main.main()
"""


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What takes far longer to cut than a test may wait."""
    return make_sample(tmp_path_factory.mktemp("long") / "l.mp4", seconds=20, size=(1280, 720))


def running_on(path: Path) -> list[int]:
    """The processes that have the path on their command line, but this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(path) in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cancel_ends_ffmpeg_within_a_second_and_leaves_nothing(
    long_video: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made.mp4"
    begun, cancelled_at = threading.Event(), []

    def progressed(progress: Progress) -> None:
        if progress.frame > 0:
            begun.set()

    def cancelled() -> bool:
        if begun.is_set() and not cancelled_at:
            cancelled_at.append(time.monotonic())
        return begun.is_set()

    planned = plan(probe(long_video), Clip(Fraction(0), Fraction(20)), CUT)
    with pytest.raises(Cancelled):
        render(
            long_video,
            planned,
            made,
            on_progress=progressed,
            cancelled=cancelled,
            timeout_s=600,
        )
    assert time.monotonic() - cancelled_at[0] < 1.0 * slowness()
    assert running_on(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_cut_that_takes_too_long_is_ended(long_video: Path, tmp_path: Path) -> None:
    planned = plan(probe(long_video), Clip(Fraction(0), Fraction(20)), CUT)
    with pytest.raises(RenderTimeout, match="longer than its time limit"):
        render(long_video, planned, tmp_path / "made.mp4", timeout_s=1.0)
    assert running_on(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_ffmpeg_ends_with_the_process_that_started_it(long_video: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.mp4"
    argv = [sys.executable, "-c", RENDER, str(long_video), str(made)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as parent:
        try:
            wait_for(
                lambda: any(pid != parent.pid for pid in running_on(tmp_path)), what="FFmpeg runs"
            )
        finally:
            parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not running_on(tmp_path), what="FFmpeg ended too")
    assert not made.exists()


def test_a_failure_leaves_the_former_output_as_it_was(long_video: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.mp4"
    made.write_bytes(b"the former one")
    planned = plan(probe(long_video), Clip(Fraction(0), Fraction(20)), CUT)
    with pytest.raises(RenderTimeout):
        render(long_video, planned, made, timeout_s=1.0)
    assert made.read_bytes() == b"the former one"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is no video " * 100, "no video we can read"),
        ("page.mp4", b"<!doctype html><html></html>", "no video we can read"),
        ("junk.mp4", b"\0\0\0\x20ftypisom" + os.urandom(5000), "can't be read"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=words) as told:
        probe(path)
    assert "\n" not in str(told.value)
    assert str(tmp_path) not in str(told.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"There is no file named 'none\.mp4'"):
        probe(tmp_path / "none.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac"]
    subprocess.run([*argv, str(sound)], check=True)
    with pytest.raises(MediaError, match="no picture"):
        probe(sound)


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile:{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{secret}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    ],
    ids=["playlist", "concat", "sdp"],
)
def test_a_script_named_as_a_video_reads_no_other_file(tmp_path: Path, script: str) -> None:
    secret = make_sample(tmp_path / "secret.mp4", seconds=1, size=(320, 180))
    hostile = tmp_path / "video.mp4"
    hostile.write_text(script.format(secret=secret))
    with pytest.raises(MediaError, match="no video we can read"):
        probe(hostile)


def test_a_reference_inside_a_movie_is_not_followed(tmp_path: Path) -> None:
    # A QuickTime reference movie: its data reference names another file.
    secret = make_sample(tmp_path / "secret.mov", seconds=1, size=(320, 180), audio=False)
    reference = b"file://" + os.fsencode(secret) + b"\0"
    atom = (len(reference) + 12).to_bytes(4, "big") + b"url \0\0\0\0" + reference
    whole = secret.read_bytes()
    at = whole.index(b"url \0\0\0\1") - 4
    hostile = tmp_path / "hostile.mov"
    hostile.write_bytes(whole[:at] + atom + whole[at + 12 :])
    with pytest.raises(MediaError):
        made = tmp_path / "made.mp4"
        whole_clip = Clip(Fraction(0), Fraction(1, 2))
        render(hostile, plan(probe(hostile), whole_clip, CUT), made, timeout_s=60)


def test_what_nobody_has_met_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_process, "_ENGINE", [sys.executable, "-c", BROKEN])
    source = make_sample(tmp_path / "v.mp4", seconds=1, size=(64, 64))

    with pytest.raises(MediaError, match=r"in a way that nobody has met \(ZeroDivisionError\)\.$"):
        probe(source)

    assert "ZeroDivisionError: integer division" in caplog.text
