"""A small disk of its own, which a test fills, empties, and makes read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Bytes that are written at once to fill it.
BLOCK = bytes(4096)


class SmallDisk:
    """A tmpfs of `megabytes` at `path`."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path, self._filling = path, path / "filling"
        path.mkdir()
        size = f"size={megabytes}m"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root can mount a small disk")

    @property
    def free(self) -> int:
        """The bytes that can still be written."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Write until so many bytes are left."""
        with self._filling.open("ab", buffering=0) as file:
            try:
                while self.free > leave:
                    file.write(BLOCK)
            except OSError:
                assert self.free == 0

    def empty(self) -> None:
        """Delete what filled it."""
        self._filling.unlink()

    def remount(self, options: str) -> None:
        """Change it by the options of mount(8)."""
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)

    def unmount(self) -> None:
        """Take it away, at once, whoever still uses it."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def small_disks() -> Iterator[Callable[[Path, int], SmallDisk]]:
    """Make small disks, which are gone at the end of the test."""
    disks: list[SmallDisk] = []

    def make(path: Path, megabytes: int) -> SmallDisk:
        disks.append(SmallDisk(path, megabytes))
        return disks[-1]

    yield make
    for disk in reversed(disks):
        disk.unmount()
