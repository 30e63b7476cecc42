"""A disk of its own whose blocks can't be read, for as long as a test wants."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MEGABYTE = 1_048_576
#: Bytes of a block of its file system, and of its metadata, which come first.
BLOCK_BYTES, METADATA_BYTES = 4096, 2 * MEGABYTE


class FailingDisk:
    """A file system on a loop device, whose own file loses the end that the blocks are in.

    The kernel then answers EIO, as it does for a disk that dies. What it has in memory could still
    be read, so that is forgotten. While it fails nothing may be written to it.
    """

    def __init__(self, image: Path, path: Path, megabytes: int) -> None:
        self.path, self._image, self._kept = path, image, image.with_suffix(".kept")
        with image.open("wb") as file:
            file.truncate(megabytes * MEGABYTE)
        path.mkdir()
        # One group of blocks, whose metadata are at its beginning, and no journal.
        options = ["-q", "-b", str(BLOCK_BYTES), "-O", "^has_journal", "-E", "nodiscard"]
        mount = ["mount", "-o", "loop,noatime,errors=continue", str(image), str(path)]
        for argv in (["mkfs.ext4", *options, str(image)], mount):
            if subprocess.run(argv, capture_output=True).returncode:
                pytest.skip("only root can mount a disk that fails")
        (path / "lost+found").rmdir()

    def fail(self) -> None:
        """Have no file be read."""
        self._lose(METADATA_BYTES)

    def fail_in(self, path: Path, part: float) -> None:
        """Have the bytes of a file be read no more that come after this part of it.

        It is the last that was written.
        """
        subprocess.run(["sync", "--file-system", str(self.path)], check=True)
        argv = ["filefrag", "-v", str(path)]
        told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        lost = int(part * path.stat().st_size / BLOCK_BYTES)
        for row in re.finditer(r"^ *\d+: +(\d+)\.\. +(\d+): +(\d+)\.\. ", told, re.M):
            first, last, place = map(int, row.groups())
            if first <= lost <= last:
                self._lose((place + lost - first) * BLOCK_BYTES)
                return
        raise AssertionError(told)

    def heal(self) -> None:
        """Have it be what it was before it failed."""
        with self._image.open("r+b") as image, self._kept.open("rb") as kept:
            while block := kept.read(MEGABYTE):
                image.write(block)

    def unmount(self) -> None:
        """Take it away, at once, whoever still uses it."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def _lose(self, beyond: int) -> None:
        subprocess.run(["sync", "--file-system", str(self.path)], check=True)
        self._kept.write_bytes(self._image.read_bytes())
        files = [path for path in self.path.rglob("*") if path.is_file()]
        os.truncate(self._image, beyond)
        for path in (*files, self._image):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.fixture
def failing_disks(tmp_path: Path) -> Iterator[Callable[[Path, int], FailingDisk]]:
    """Make disks that can fail, which are gone at the end of the test."""
    disks: list[FailingDisk] = []

    def make(path: Path, megabytes: int) -> FailingDisk:
        disks.append(FailingDisk(tmp_path / f"disk{len(disks)}.image", path, megabytes))
        return disks[-1]

    yield make
    for disk in reversed(disks):
        disk.unmount()
