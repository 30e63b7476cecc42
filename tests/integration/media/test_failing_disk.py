"""A disk that fails in the middle of a file: no demuxer is believed that takes that for its end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import Clip, OutputSpec, SourceUnavailable, ffmpeg_path, plan, probe, render
from cutmv.media.suggestions import analyse
from tests.support.failing_disk import FailingDisk
from tests.support.media import frame_number, make_sample, read_frames

SIZE, SECONDS = (320, 180), 20
#: Containers, each with FFmpeg's options for it.
CONTAINERS = {"front.mp4": ("-movflags", "+faststart"), "cues.mkv": (), "stream.ts": ()}
#: What is made, each by other code: packets that are copied, pictures, one picture, sound.
WISHES = {
    "copied": OutputSpec("cutdown", "source", "crop"),
    "encoded": OutputSpec("cutdown", "9:16", "crop"),
    "gif": OutputSpec("gif", "source", "crop"),
    "still": OutputSpec("still", "source", "crop"),
}
EXTENSIONS = {"copied": "mp4", "encoded": "mp4", "gif": "gif", "still": "jpg"}
#: A part of a file behind which its disk fails, a clip before that, and one that reaches beyond.
GOOD, BEFORE, BEYOND = 0.5, (2, 4), (8, 12)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same packets in each container: 2 Mbit/s, a key picture each second."""
    folder = tmp_path_factory.mktemp("failing")
    rate = ("-b:v", "2M", "-minrate", "2M", "-maxrate", "2M", "-bufsize", "1M")
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-bf", "2", *rate)
    whole = make_sample(
        folder / "whole.mkv",
        seconds=SECONDS,
        size=SIZE,
        codec=(*codec, "-x264-params", "nal-hrd=cbr:scenecut=0"),
    )
    found = {name: folder / name for name in CONTAINERS}
    for name, path in found.items():
        argv = [ffmpeg_path(), "-v", "error", "-i", whole, "-map", "0", "-c", "copy"]
        subprocess.run([*argv, *CONTAINERS[name], path], check=True)
    return found


@pytest.mark.parametrize(
    "container",
    [
        name if name == "front.mp4" else pytest.param(name, marks=pytest.mark.slow)
        for name in CONTAINERS
    ],
)
def test_a_clip_that_a_disk_does_not_give_is_waited_for_and_one_that_it_gives_is_made(
    container: str,
    videos: dict[str, Path],
    failing_disks: Callable[[Path, int], FailingDisk],
    tmp_path: Path,
) -> None:
    disk = failing_disks(tmp_path / "disk", 40)
    video = Path(shutil.copy(videos[container], disk.path))
    info, made = probe(video), tmp_path / "made"
    made.mkdir()

    def cut(name: str, clip: tuple[int, int], path: Path) -> None:
        start, end = map(Fraction, clip)
        render(video, plan(info, Clip(start, end), WISHES[name]), path, timeout_s=60)

    disk.fail_in(video, GOOD)
    for name in WISHES:
        path = made / f"{name}.{EXTENSIONS[name]}"
        with pytest.raises(SourceUnavailable, match="its disk fails"):
            cut(name, BEYOND, path)
        assert not path.exists()
    if container == "front.mp4":  # the others are looked at where they end, too
        cut("encoded", BEFORE, made / "before.mp4")
    with pytest.raises(SourceUnavailable, match="its disk fails"):
        analyse(video, info)

    disk.heal()
    cut("copied", BEYOND, made / "healed.mp4")
    found = [frame_number(image, SIZE) for image in read_frames(made / "healed.mp4")]
    assert found == list(range(BEYOND[0] * 30, BEYOND[1] * 30))


def test_a_file_that_a_disk_does_not_give_is_not_called_damaged(
    videos: dict[str, Path], failing_disks: Callable[[Path, int], FailingDisk], tmp_path: Path
) -> None:
    disk = failing_disks(tmp_path / "disk", 40)
    video = Path(shutil.copy(videos["front.mp4"], disk.path))

    disk.fail()

    with pytest.raises(SourceUnavailable, match="can't be read: Input/output error"):
        probe(video)
