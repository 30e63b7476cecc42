"""Room on this machine's disks: what would fill them is refused, or waits, while some is left.

A full disk stops all: the database can note nothing, and nothing can be freed in peace. So a
reserve is kept of each file system that is written, for what is under way and for what is noted.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cutmv.storage.base import NoSpace

#: Bytes of a file system that are kept free where nobody says how many (1 GiB), and the part of a
#: small one that is kept instead.
MIN_FREE_BYTES, MIN_FREE_PART = 1 << 30, 0.05
#: Files that may still be made on a file system which counts them: each cut makes some.
MIN_FREE_FILES = 100


@dataclass(frozen=True)
class Disk:
    """A file system, by a folder of ours on it: its size, what is free, what must be (bytes)."""

    folder: Path
    size: int
    free: int
    reserve: int

    @property
    def is_short(self) -> bool:
        """Whether less is free than must be."""
        return self.free < self.reserve


@dataclass(frozen=True)
class Room:
    """What must stay free on the file systems of `folders`: `min_free_bytes` of each.

    Where that is -1 it is MIN_FREE_BYTES, or MIN_FREE_PART where that is less. `stored` is the
    folder in which uploads are kept; none where they are kept elsewhere.
    """

    folders: Sequence[Path]
    min_free_bytes: int = -1
    stored: Path | None = None

    def require(self, size: int = 0) -> None:
        """Raise NoSpace where less is free than must be, or would be with an upload of `size`."""
        if size and self.stored:
            self._require(self.stored, size)
        for folder in self.folders:
            self._require(folder, 0)

    def is_short(self) -> bool:
        """Whether less is free than must be."""
        try:
            self.require()
        except NoSpace:
            return True
        return False

    def disks(self) -> list[Disk]:
        """Each file system of these folders, once; one that is dead is left out."""
        found: dict[int, Disk] = {}
        for folder in (*self.folders, *([self.stored] if self.stored else [])):
            with suppress(OSError):
                existing = _existing(folder)
                status, device = os.statvfs(existing), existing.stat().st_dev
                total, free = (
                    blocks * status.f_frsize for blocks in (status.f_blocks, status.f_bavail)
                )
                found.setdefault(device, Disk(folder, total, free, self.reserve(folder)))
        return list(found.values())

    def reserve(self, folder: Path) -> int:
        """The bytes that must stay free on the file system of a folder. Raises OSError."""
        if self.min_free_bytes >= 0:
            return self.min_free_bytes
        status = os.statvfs(_existing(folder))
        return min(MIN_FREE_BYTES, int(status.f_blocks * status.f_frsize * MIN_FREE_PART))

    def _require(self, folder: Path, size: int) -> None:
        try:
            status, reserve = os.statvfs(_existing(folder)), self.reserve(folder)
        except OSError:  # a disk that is dead says so when it is used
            return
        if status.f_bavail * status.f_frsize - size < reserve:
            raise NoSpace("Too little room is left on this machine's disk.")
        if status.f_files and status.f_favail < MIN_FREE_FILES:
            raise NoSpace("Too few files can still be made on this machine's disk.")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)
