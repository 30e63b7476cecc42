"""The overview of a video: each small picture is that of its time, and peaks are where sound is."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutmv.media import MediaError, Sheet, empty_overview, ffmpeg_path, keyframes, overview, probe
from tests.support.media import frame_number, make_hours, make_sample, read_frames

SIZE = (640, 360)


@dataclass
class Taken:
    """What is told of a video, in its order."""

    sheets: list[tuple[Sheet, bytes]] = field(default_factory=list)
    heard: list[tuple[float, NDArray[np.int8], bool]] = field(default_factory=list)
    key_pictures: tuple[float, ...] = ()
    told: list[tuple[str, float]] = field(default_factory=list)

    def sheet(self, sheet: Sheet, jpeg: bytes) -> None:
        self.told.append(("sheet", time.monotonic()))
        self.sheets.append((sheet, jpeg))

    def peaks(self, a_second: float, peaks: bytes, *, rough: bool) -> None:
        self.told.append(("rough peaks" if rough else "peaks", time.monotonic()))
        both = np.frombuffer(peaks, np.int8).reshape(-1, 2)
        self.heard.append((a_second, both, rough))

    def keys(self, times: tuple[float, ...]) -> None:
        self.key_pictures = times

    def pictures(self, size: tuple[int, int]) -> dict[float, NDArray[np.uint8]]:
        """All small pictures, in grey, by their times."""
        width, height = size
        found = {}
        for sheet, jpeg in self.sheets:
            with av.open(BytesIO(jpeg)) as file:
                whole = next(file.decode(video=0)).to_ndarray(format="gray")
            for place, at in enumerate(sheet.times):
                row, column = divmod(place, sheet.columns)
                found[at] = whole[row * height :, column * width :][:height, :width]
        return found


def seen(path: Path) -> Taken:
    taken = Taken()
    overview(path, probe(path), taken)
    return taken


def check_numbers(pictures: dict[float, NDArray[np.uint8]], within: int = 0) -> None:
    """Each picture is that of its time, or one of `within` frames beside it."""
    for at, picture in pictures.items():
        assert abs(frame_number(picture, SIZE) - round(at * 30)) <= within, at


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi"])
def test_small_pictures_are_those_of_their_times(tmp_path: Path, name: str) -> None:
    codec = ("-c:v", "mpeg4", "-g", "48") if name == "v.avi" else None
    path = make_sample(tmp_path / name, seconds=8.0, **({"codec": codec} if codec else {}))

    taken = seen(path)

    pictures = taken.pictures((160, 90))
    # The index of an AVI counts packets, of which some are empty.
    check_numbers(pictures, within=int(name == "v.avi"))
    assert len(pictures) == pytest.approx(42, abs=5)
    assert max(np.diff(sorted(pictures))) < 0.3
    assert taken.key_pictures == pytest.approx(keyframes(path), abs=0.001)


@pytest.mark.slow
def test_of_a_large_video_key_pictures_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("cutmv.media.overview"), "ALL_PICTURES_PIXELS", 0)
    for name in ("v.mp4", "v.mkv", "v.ts"):
        path = make_sample(tmp_path / name, seconds=16.0)
        taken = seen(path)
        pictures = taken.pictures((160, 90))
        check_numbers(pictures)
        keys = keyframes(path)
        assert sorted(pictures) == pytest.approx(keys, abs=0.001), name
        assert taken.key_pictures == pytest.approx(keys, abs=0.001), name


@pytest.mark.slow
def test_pictures_of_a_phone_are_upright(tmp_path: Path) -> None:
    path = make_sample(tmp_path / "v.mp4", seconds=2.0, rotation=90)
    info = probe(path)
    size = empty_overview(info)

    pictures = seen(path).pictures((size.width, size.height))

    assert (size.width, size.height) == (50, 90) and len(pictures) > 5
    shown, small = read_frames(path, 1)[0].astype(float), pictures[0.0].astype(float)
    rows, columns = (
        np.linspace(0, side - 1, of).astype(int)
        for side, of in zip(shown.shape, small.shape, strict=True)
    )
    there = shown[np.ix_(rows, columns)]
    unlike = [np.abs(each - small).mean() for each in (there, there[::-1, ::-1])]
    assert unlike[0] < unlike[1] / 2


@pytest.mark.slow
def test_peaks_are_where_the_sound_is(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    sound = "aevalsrc='if(between(t,2,4),0.5*sin(2*PI*440*t),0)':s=48000:d=8"
    argv = [ffmpeg_path(), "-v", "error", "-f", "lavfi", "-i", "color=gray:s=160x90:r=30:d=8"]
    argv += ["-f", "lavfi", "-i", sound, "-c:v", "libx264", "-c:a", "aac", str(path)]
    subprocess.run(argv, check=True)

    taken = seen(path)

    a_second, peaks, rough = taken.heard[-1]
    assert not rough and a_second == 100 and len(peaks) == pytest.approx(800, abs=12)
    loud = peaks[210:390]
    assert loud[:, 0].max() < -55 and loud[:, 1].min() > 55
    assert np.abs(peaks[:190]).max() <= 2 and np.abs(peaks[420:]).max() <= 2
    a_second, peaks, rough = taken.heard[0]
    at = lambda seconds: peaks[int(seconds * a_second)]  # noqa: E731
    assert rough and at(3)[1] > 50 and at(1)[1] <= 2 and at(6)[1] <= 2


@pytest.mark.slow
def test_a_video_without_sound_has_no_peaks(tmp_path: Path) -> None:
    taken = seen(make_sample(tmp_path / "v.mp4", seconds=1.0, audio=False))

    assert taken.heard == [] and taken.sheets


@pytest.mark.slow
def test_what_can_be_seen_of_a_damaged_file_is_seen(tmp_path: Path) -> None:
    path = make_sample(tmp_path / "v.ts", seconds=8.0)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 100_000] = bytes(100_000)
    path.write_bytes(damaged)

    assert len(seen(path).pictures((160, 90))) > 10


@pytest.mark.slow
def test_a_file_that_was_replaced_is_refused(tmp_path: Path) -> None:
    path = make_sample(tmp_path / "v.mp4", seconds=1.0)
    info = probe(path)
    path.write_bytes(b"no video at all")

    with pytest.raises(MediaError):
        overview(path, info, Taken())


@pytest.fixture(scope="module")
def two_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hours(tmp_path_factory.mktemp("hours"), minutes=120)


@pytest.mark.slow
def test_there_is_something_of_two_hours_within_seconds(two_hours: Path) -> None:
    info = probe(two_hours)
    began = time.monotonic()

    taken = Taken()
    overview(two_hours, info, taken)

    since = {what: at - began for what, at in reversed(taken.told)}
    print({**since, "all": time.monotonic() - began})
    assert since["sheet"] < 5 and since["rough peaks"] < 5
    assert len(taken.pictures((160, 90))) > 200
    assert taken.heard[-1][1].shape[0] == pytest.approx(200_000, rel=0.01)
    assert len(taken.key_pictures) > 1000
