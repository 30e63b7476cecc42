"""What is read of videos in an S3 server: no more than is needed, and each byte once."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest

from cutmv.media import (
    Cache,
    Clip,
    MediaInfo,
    OutputSpec,
    Rendered,
    ffmpeg_path,
    plan,
    probe,
    render,
)
from tests.support.media import frame_number, make_sample, read_frames
from tests.support.s3 import WatchedS3

SIZE = (320, 180)
SECONDS, START, END = 40, 20, 30
CUT = OutputSpec("cutdown", "source", "crop")
#: Containers, each with FFmpeg's options for it.
CONTAINERS = {
    "index in front.mp4": ("-movflags", "+faststart"),
    "index at the back.mp4": (),
    "cues at the end.mkv": (),
}


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
    return found


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


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_clip_costs_its_own_bytes_and_the_index_once(
    name: str, videos: dict[str, Path], watched_s3: WatchedS3, tmp_path: Path
) -> None:
    video = videos[name]
    url = watched_s3.put("video", video)
    cache = Cache(tmp_path / "cache")
    info = probe(url, cache=cache)
    index = watched_s3.fetched

    made = cut(url, info, tmp_path / "made.mp4", cache)

    assert numbers(tmp_path / "made.mp4") == list(range(START * 30, END * 30))
    own = own_bytes(video, START, END)
    assert watched_s3.fetched <= 1.3 * own + index
    # A request of one byte asks whether the object is still the same.
    assert watched_s3.fetched - watched_s3.distinct <= 2
    assert made.read_bytes == watched_s3.fetched - index
    assert made.requests <= 40
    assert index < 1_000_000
