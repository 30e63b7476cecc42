"""How much stays free on a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cutmv.storage import NoSpace, Room
from cutmv.storage.room import MIN_FREE_BYTES


def disk(monkeypatch: pytest.MonkeyPatch, total: int, free: int, files: int = 0) -> None:
    """Have all disks look like this; `files` may still be made, where they are counted."""
    blocks = (
        1024,
        1024,
        total // 1024,
        free // 1024,
        free // 1024,
        files * 2,
        files,
        files,
        0,
        255,
    )
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(blocks))


@pytest.mark.parametrize(
    ("total", "reserve"), [(1 << 40, MIN_FREE_BYTES), (1 << 30, int((1 << 30) * 0.05))]
)
def test_a_gigabyte_stays_free_or_a_part_of_a_small_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: int, reserve: int
) -> None:
    disk(monkeypatch, total, reserve + 1024)
    room = Room([tmp_path])
    assert room.reserve(tmp_path) == reserve
    room.require()

    disk(monkeypatch, total, reserve - 1024)
    with pytest.raises(NoSpace):
        room.require()
    assert room.is_short()


def test_what_is_asked_for_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk(monkeypatch, 1 << 40, 5000 * 1024)
    Room([tmp_path], min_free_bytes=4000 * 1024).require()
    assert Room([tmp_path], min_free_bytes=6000 * 1024).is_short()


def test_an_upload_counts_on_the_disk_that_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk(monkeypatch, 1 << 40, 5000 * 1024)
    here = Room([tmp_path], min_free_bytes=1024, stored=tmp_path / "files")
    here.require(4999 * 1024)
    with pytest.raises(NoSpace):
        here.require(5000 * 1024)
    Room([tmp_path], min_free_bytes=1024).require(1 << 50)  # it is kept elsewhere


def test_a_disk_that_can_hold_no_more_files_is_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk(monkeypatch, 1 << 40, 1 << 39, files=50)
    assert Room([tmp_path]).is_short()
