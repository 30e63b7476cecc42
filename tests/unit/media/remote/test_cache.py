"""The cache of remote videos: what it keeps, for how long, and what it never gives."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from cutmv.media.remote import cache as module
from cutmv.media.remote.cache import BLOCK_BYTES, SEGMENT_BLOCKS, Cache, Parts

BLOCK = b"x" * BLOCK_BYTES
RUNNING = threading.Event()


def put(parts: Parts, block: int, data: bytes = BLOCK) -> None:
    with parts.fetching(block // SEGMENT_BLOCKS, RUNNING) as segment:
        segment.put(block % SEGMENT_BLOCKS, data)


def used(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*/*"))


def test_a_block_is_given_as_it_was_put(tmp_path: Path) -> None:
    parts = Cache(tmp_path).parts_of("a")
    put(parts, 70)
    put(parts, 71, b"short")
    assert Cache(tmp_path).parts_of("a").get(70, BLOCK_BYTES) == BLOCK
    assert parts.get(71, 5) == b"short"
    assert parts.get(69, BLOCK_BYTES) is None
    assert parts.get(6, BLOCK_BYTES) is None


def test_another_object_has_other_blocks(tmp_path: Path) -> None:
    put(Cache(tmp_path).parts_of("a"), 0)
    assert Cache(tmp_path).parts_of("b").get(0, BLOCK_BYTES) is None


def test_what_was_not_written_whole_is_not_given(tmp_path: Path) -> None:
    parts = Cache(tmp_path).parts_of("a")
    put(parts, 0)
    (path,) = tmp_path.glob("*/*")
    with path.open("r+b") as file:
        file.write(b"y")
    assert parts.get(0, BLOCK_BYTES) is None
    with path.open("r+b") as file:
        file.truncate(BLOCK_BYTES // 2)
    assert parts.get(0, BLOCK_BYTES) is None


def test_a_hole_takes_no_room(tmp_path: Path) -> None:
    put(Cache(tmp_path).parts_of("a"), SEGMENT_BLOCKS - 1)
    assert used(tmp_path) <= 2 * BLOCK_BYTES


def test_what_was_not_used_for_longest_is_deleted_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=3 * BLOCK_BYTES)
    parts = cache.parts_of("a")
    for segment in range(4):
        put(parts, segment * SEGMENT_BLOCKS)
        path = next(tmp_path.glob(f"*/{segment:06d}"))
        os.utime(path, (0, time.time() - 100 + segment))
    reader = cache.parts_of("a")  # which leaves the latest two: a file has its checksums, too
    assert reader.get(2 * SEGMENT_BLOCKS, BLOCK_BYTES) == BLOCK
    put(reader, 9 * SEGMENT_BLOCKS)
    cache.trim()
    kept = [n for n in range(10) if reader.get(n * SEGMENT_BLOCKS, BLOCK_BYTES) is not None]
    assert kept == [2, 9]
    assert used(tmp_path) <= 3 * BLOCK_BYTES


def test_a_video_that_is_deleted_does_not_live_on_here(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    put(cache.parts_of("a"), 0)
    put(cache.parts_of("b"), 0)
    for path in cache._of("a").iterdir():
        os.utime(path, (0, time.time() - module.KEPT_S - 1))
    cache.trim()
    assert [path.name for path in tmp_path.iterdir()] == [cache._of("b").name]


def test_half_of_a_disk_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    parts = cache.parts_of("a")
    for segment in range(4):
        put(parts, segment * SEGMENT_BLOCKS)
    usage = module.shutil._ntuple_diskusage(10**9, 10**9, 0)  # type: ignore[attr-defined]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    whole = used(tmp_path)
    cache.trim()
    assert 0 < used(tmp_path) <= whole // 2


def test_one_at_a_time_fetches_into_a_segment(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entered = threading.Event()

    def second() -> None:
        with cache.parts_of("a").fetching(0, RUNNING) as segment:
            assert segment.has(0)
            entered.set()

    with cache.parts_of("a").fetching(0, RUNNING) as segment:
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.1)
        segment.put(0, BLOCK)
    assert entered.wait(5)
    thread.join(5)


def test_a_full_disk_keeps_nothing_and_fails_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    parts = Cache(tmp_path).parts_of("a")
    monkeypatch.setattr(module.os, "pwrite", full)
    put(parts, 0)
    assert parts.get(0, BLOCK_BYTES) is None
    monkeypatch.undo()
    monkeypatch.setattr(module.os, "open", full)
    put(parts, 0)
    monkeypatch.undo()
    assert parts.get(0, BLOCK_BYTES) is None
