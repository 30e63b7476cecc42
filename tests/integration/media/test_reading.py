"""What is read of videos in an S3 server: no more than is needed, and each byte once."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from cutmv.media import (
    Cache,
    Clip,
    MediaInfo,
    MediaUnavailable,
    OutputSpec,
    Rendered,
    SourceUnavailable,
    ffmpeg_path,
    plan,
    probe,
    render,
)
from cutmv.media.remote import cache as cache_module
from tests.support.media import frame_number, make_sample, read_frames
from tests.support.s3 import WatchedS3

SIZE = (320, 180)
SECONDS, START, END = 40, 21, 31
CUT = OutputSpec("cutdown", "source", "crop")
#: Containers, each with FFmpeg's options for it.
CONTAINERS = {
    "index in front.mp4": ("-movflags", "+faststart"),
    "index at the back.mp4": (),
    "cues at the end.mkv": (),
    "no index.ts": (),
    "index at the back.avi": ("-bsf:v", "h264_mp4toannexb"),
    "sound after all pictures.mov": (),
}
#: That of them which stands for all where time is short.
USUAL = "index at the back.mp4"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same packets in each container: 3 Mbit/s, a key picture each 2 s."""
    folder = tmp_path_factory.mktemp("reading")
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-bf", "2", "-b:v", "3M")
    constant = ("-minrate", "3M", "-maxrate", "3M", "-bufsize", "3M", "-x264-params")
    whole = make_sample(
        folder / "whole.mkv",
        seconds=SECONDS,
        size=SIZE,
        codec=(*codec, *constant, "nal-hrd=cbr:scenecut=0"),
    )
    found = {}
    for name, options in CONTAINERS.items():
        found[name] = folder / name
        argv = [ffmpeg_path(), "-v", "error", "-i", whole, "-map", "0", "-c", "copy", *options]
        subprocess.run([*argv, found[name]], check=True)
    name = "sound after all pictures.mov"
    apart(found[USUAL], found[name])
    return found


def apart(source: Path, made: Path) -> None:
    """Write a film's pictures, and after them all of its sound."""
    out: Any
    with av.open(str(source)) as whole, av.open(str(made), "w", format="mov") as out:
        tracks = [out.add_stream_from_template(each) for each in whole.streams]
        packets = [packet for packet in whole.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.stream.index):
            packet.stream = tracks[packet.stream.index]
            out.mux_one(packet)


def own_bytes(path: Path, start: float, end: float) -> int:
    """The bytes of the packets of a clip, from the key picture before it on."""
    with av.open(str(path)) as file:
        packets = [
            (float((packet.pts or 0) * packet.stream.time_base), packet)
            for packet in file.demux()
            if packet.size
        ]
        zero = min(at for at, packet in packets if packet.stream.type == "video")
        keys = [
            at
            for at, packet in packets
            if packet.stream.type == "video" and packet.is_keyframe and at <= start + zero
        ]
        return sum(packet.size for at, packet in packets if max(keys) <= at < end + zero)


def cut(
    url: str, info: MediaInfo, made: Path, cache: Cache, clip: tuple[int, int] = (START, END)
) -> Rendered:
    planned = plan(info, Clip(Fraction(clip[0]), Fraction(clip[1])), CUT)
    return render(url, planned, made, timeout_s=60, cache=cache)


def numbers(made: Path) -> list[int]:
    return [frame_number(image, SIZE) for image in read_frames(made)]


@pytest.mark.parametrize(
    "name",
    [name if name == USUAL else pytest.param(name, marks=pytest.mark.slow) for name in CONTAINERS],
)
def test_a_clip_costs_its_own_bytes_and_the_index_once(
    name: str, videos: dict[str, Path], watched_s3: WatchedS3, tmp_path: Path
) -> None:
    video = videos[name]
    url = watched_s3.put("video", video)
    cache = Cache(tmp_path / "cache")
    info = probe(url, cache=cache)
    index = watched_s3.fetched
    assert info.video is not None
    assert info.video.quantizer is not None

    made = cut(url, info, tmp_path / "made.mp4", cache)

    assert numbers(tmp_path / "made.mp4") == list(range(START * 30, END * 30))
    own = own_bytes(video, START, END)
    assert watched_s3.fetched <= 1.3 * own + index
    # A request of one byte asks whether the object is still the same.
    assert watched_s3.fetched - watched_s3.distinct <= 2
    assert made.read_bytes == watched_s3.fetched - index
    # Where the index tells where the packets are, they are asked for at once.
    assert made.requests is not None
    assert made.requests <= (50 if name == "no index.ts" else 15)
    # A transport stream has none: two dozen places of it tell whether its clock jumps. AVI tells no
    # rate of such pictures, which is measured.
    assert index < {"ts": 5_000_000, "avi": 2_000_000}.get(video.suffix[1:], 1_000_000)


@pytest.mark.slow
def test_a_stream_without_an_index_that_is_cut_at_a_key_picture_is_read_from_there(
    videos: dict[str, Path], watched_s3: WatchedS3, tmp_path: Path
) -> None:
    video = videos["no index.ts"]
    url = watched_s3.put("video", video)
    cache = Cache(tmp_path / "cache")
    info = probe(url, cache=cache)
    index = watched_s3.fetched

    cut(url, info, tmp_path / "made.mp4", cache, (20, 30))

    assert numbers(tmp_path / "made.mp4") == list(range(600, 900))
    # The two seconds before it are not.
    assert watched_s3.fetched <= own_bytes(video, 20, 30) + index


@pytest.fixture
def video(videos: dict[str, Path]) -> Path:
    return videos[USUAL]


def test_clips_of_one_video_share_what_was_read(
    video: Path, watched_s3: WatchedS3, tmp_path: Path
) -> None:
    url = watched_s3.put("video", video)
    info = probe(url, cache=Cache(tmp_path / "cache"))
    for number, clip in enumerate(((10, 16), (14, 20), (11, 15))):
        before = watched_s3.fetched
        made = cut(url, info, tmp_path / f"{number}.mp4", Cache(tmp_path / "cache"), clip)
        assert numbers(tmp_path / f"{number}.mp4") == list(range(clip[0] * 30, clip[1] * 30))
        assert made.read_bytes == watched_s3.fetched - before
    # The third lies in the first two: all that is asked is whether the object is the same.
    assert (made.read_bytes, made.requests) == (1, 1)
    assert watched_s3.fetched - watched_s3.distinct <= 4


@pytest.mark.slow
def test_two_processes_share_what_was_read(
    video: Path, watched_s3: WatchedS3, tmp_path: Path
) -> None:
    url = watched_s3.put("video", video)
    script = tmp_path / "cut.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom tests.integration.media.test_reading import *\n"
        "url, made, cache = sys.argv[1:]\n"
        "kept = Cache(Path(cache))\n"
        "cut(url, probe(url, cache=kept), Path(made), kept, (10, 16))\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, script, url, tmp_path / f"{number}.mp4", tmp_path / "cache"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        for number in range(2)
    ]
    assert [each.wait(60) for each in started] == [0, 0]

    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()
    assert numbers(tmp_path / "0.mp4") == list(range(300, 480))
    # Each of four times it was asked whether the object is the same.
    assert watched_s3.fetched - watched_s3.distinct <= 4


@pytest.mark.slow
def test_a_download_that_breaks_off_is_resumed(
    video: Path, watched_s3: WatchedS3, tmp_path: Path
) -> None:
    url = watched_s3.put("video", video)
    watched_s3.drops, watched_s3.drop_after = 8, 50_000
    cache = Cache(tmp_path / "cache")

    cut(url, probe(url, cache=cache), tmp_path / "made.mp4", cache)

    assert numbers(tmp_path / "made.mp4") == list(range(START * 30, END * 30))
    assert watched_s3.drops == 0
    assert watched_s3.fetched - watched_s3.distinct <= 2


@pytest.mark.slow
def test_what_was_read_before_a_failure_is_not_read_again(
    video: Path, watched_s3: WatchedS3, tmp_path: Path
) -> None:
    url = watched_s3.put("video", video)
    cache = Cache(tmp_path / "cache")
    info = probe(url, cache=cache)

    first = len(watched_s3.given)

    def away(number: int) -> None:
        if number >= first + 2:  # the first asks whether it is the same, the second for a part
            raise ConnectionError

    watched_s3.before = away
    with pytest.raises(SourceUnavailable, match="can't be read from localhost"):
        cut(url, info, tmp_path / "made.mp4", cache)
    assert not (tmp_path / "made.mp4").exists()
    watched_s3.before = lambda _: None

    cut(url, info, tmp_path / "made.mp4", cache)

    assert numbers(tmp_path / "made.mp4") == list(range(START * 30, END * 30))
    assert watched_s3.fetched - watched_s3.distinct <= 3


def test_an_object_that_is_replaced_is_not_mixed_with_the_other(
    video: Path, videos: dict[str, Path], watched_s3: WatchedS3, tmp_path: Path
) -> None:
    url = watched_s3.put("video", video)
    cache = Cache(tmp_path / "cache")
    info = probe(url, cache=cache)
    other = videos["index in front.mp4"]

    first = len(watched_s3.given)

    def replace(number: int) -> None:
        if number == first + 2:
            watched_s3.before = lambda _: None
            watched_s3.put("video", other)

    watched_s3.before = replace
    with pytest.raises(MediaUnavailable, match="was replaced while it was read"):
        cut(url, info, tmp_path / "made.mp4", cache)
    assert not (tmp_path / "made.mp4").exists()

    cut(url, probe(url, cache=cache), tmp_path / "made.mp4", cache)

    assert numbers(tmp_path / "made.mp4") == list(range(START * 30, END * 30))


@pytest.mark.slow
def test_a_full_disk_keeps_nothing_and_the_cut_goes_on(
    video: Path, watched_s3: WatchedS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    url = watched_s3.put("video", video)
    monkeypatch.setattr(cache_module.os, "pwrite", full)

    cut(url, probe(url), tmp_path / "made.mp4", Cache(tmp_path / "cache"), (10, 12))

    assert numbers(tmp_path / "made.mp4") == list(range(300, 360))


@pytest.mark.slow
def test_a_block_that_was_damaged_is_read_again(
    video: Path, watched_s3: WatchedS3, tmp_path: Path
) -> None:
    url = watched_s3.put("video", video)
    cache = Cache(tmp_path / "cache")
    info = probe(url, cache=cache)
    cut(url, info, tmp_path / "1.mp4", cache, (10, 12))
    for path in (tmp_path / "cache").glob("*/*"):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size - 256))

    cut(url, info, tmp_path / "2.mp4", cache, (10, 12))

    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()
