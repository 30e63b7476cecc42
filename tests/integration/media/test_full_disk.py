"""A disk that is full before an output is written: the machine failed, and not the clip."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from cutmv.media import Clip, NoRoom, OutputSpec, Rendered, plan, probe, render
from tests.support.corpus import x264
from tests.support.media import make_sample
from tests.support.small_disk import SmallDisk

#: The clip of every output, by which each has some hundred kB.
CLIP = Clip(Fraction(0), Fraction(2))
KINDS = {
    "copied": ("clip.mp4", OutputSpec("cutdown", "source", "crop")),
    "encoded": ("clip.mp4", OutputSpec("cutdown", "1:1", "crop")),
    "gif": ("clip.gif", OutputSpec("gif", "16:9", "crop")),
    "still": ("clip.jpg", OutputSpec("still", "16:9", "crop")),
    "webp": ("clip.webp", OutputSpec("webp", "16:9", "crop")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_finds_no_room_is_no_fault_of_its_clip(
    tmp_path: Path, small_disks: Callable[[Path, int], SmallDisk], kind: str
) -> None:
    source = make_sample(tmp_path / "video.mp4", seconds=3, codec=x264("-g", "12"))
    name, spec = KINDS[kind]
    disk = small_disks(tmp_path / "disk", 8)
    folder = disk.path / "made"

    def attempt(leave: int) -> Rendered | Exception:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        disk.fill(leave)
        try:
            return render(source, plan(probe(source), CLIP, spec), folder / name, timeout_s=60)
        except Exception as error:
            return error
        finally:
            disk.empty()

    whole = attempt(disk.free - 16 * 4096)
    assert isinstance(whole, Rendered)
    size = whole.size_bytes
    for leave in (2 * 4096, size // 4, size // 2, 3 * size // 4, size - 3 * 4096):
        ended = attempt(leave)
        assert isinstance(ended, NoRoom), f"{leave} of {size}: {ended!r}"
        assert list(folder.iterdir()) == []
