"""Parts of remote objects on this machine's disk, which its processes share.

Each object has a folder, named by a digest of what identifies it and its bytes. In it is a file for
each segment of the object, in which what was not fetched is a hole; after the segment's blocks come
their checksums, 0 for a block that is not there. A block's checksum is written after it, and a
process that is killed in between has written none. The segments that were not used for longest are
deleted; who reads one meanwhile fetches it again.
"""

import fcntl
import os
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

#: Bytes of a block, the least that is fetched, and blocks of a segment, the most.
BLOCK_BYTES, SEGMENT_BLOCKS = 65_536, 64
#: Seconds for which what is not used is kept: an upload that is deleted does not live on here.
KEPT_S = 24 * 3600.0
#: Bytes of disk that a cache takes at most, where nobody says otherwise.
MAX_CACHE_BYTES = 5_000_000_000
#: Bytes that one reader adds until what is too old or too much is deleted.
TRIM_BYTES = 64 * 1_048_576
#: Seconds between attempts to lock a segment that another reader fetches.
LOCKED_CHECK_S = 0.02

_CHECKSUM = struct.Struct("<I")
_CHECKSUMS_AT = BLOCK_BYTES * SEGMENT_BLOCKS


class Cache:
    """A folder that holds parts of objects, `max_bytes` at most.

    It never takes more than half of the room that it and the rest of the disk have together, beside
    the `reserve` bytes that must stay free.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES, reserve: int = 0) -> None:
        self._folder, self._max_bytes, self._reserve = folder, max_bytes, reserve

    def parts_of(self, identity: str) -> "Parts":
        """What is kept of an object."""
        self.trim()
        return Parts(self, self._of(identity))

    def delete(self, identity: str) -> None:
        """Delete what is kept of an object."""
        shutil.rmtree(self._of(identity), ignore_errors=True)

    def trim(self) -> None:
        """Delete the segments that were not used for longest, until the rest is small enough.

        And those that were not used for a day.
        """
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):  # another process may delete it
                status = path.stat()
                found.append((status.st_mtime, status.st_blocks * 512, path))
        used = sum(size for _, size, _ in found)
        with suppress(OSError):
            room = max(0, shutil.disk_usage(self._folder).free + used - self._reserve)
            for at, size, path in sorted(found):
                old = time.time() - at > KEPT_S
                if not old and used <= min(self._max_bytes, room // 2):
                    return
                used -= size
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                    path.parent.rmdir()

    def _of(self, identity: str) -> Path:
        return self._folder / sha256(identity.encode()).hexdigest()[:32]


class Parts:
    """The blocks of one object that are on this machine. A full disk keeps none, and fails none."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        self._cache, self._folder = cache, folder
        self._used: set[int] = set()
        self._added = 0

    def get(self, block: int, length: int) -> bytes | None:
        """The block of that number, of `length` bytes; none where it is not there."""
        segment, place = divmod(block, SEGMENT_BLOCKS)
        try:
            with self._path(segment).open("rb", buffering=0) as file:
                if segment not in self._used:
                    self._used.add(segment)
                    os.utime(file.fileno())
                checksum = _checksum(file.fileno(), place)
                data = os.pread(file.fileno(), length, place * BLOCK_BYTES) if checksum else b""
        except OSError:
            return None
        return data if checksum and checksum == zlib.crc32(data) else None

    @contextmanager
    def fetching(self, segment: int, ending: threading.Event) -> Iterator["Segment"]:
        """Fetch into a segment; one process and thread at a time, unless the disk has no room."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            number = os.open(self._path(segment), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield Segment(None)
            return
        try:
            while not _locked(number) and not ending.wait(LOCKED_CHECK_S):
                pass
            found = Segment(number)
            yield found
            self._added += found.written
            if found.full or self._added >= TRIM_BYTES:
                self._cache.trim()
                self._added = 0
        finally:
            os.close(number)

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:06d}"


class Segment:
    """A segment that is being fetched, open as a file; none where there is no room for it."""

    def __init__(self, file: int | None) -> None:
        self._file = file
        #: Bytes that were written, and whether there was no room for more.
        self.written, self.full = 0, file is None

    def has(self, place: int) -> bool:
        """Whether the block at a place in it is there."""
        return self._file is not None and _checksum(self._file, place) != 0

    def forget(self, place: int) -> None:
        """Take a block, which turned out to be damaged, as not there."""
        if self._file is not None:
            with suppress(OSError):
                os.pwrite(self._file, _CHECKSUM.pack(0), _CHECKSUMS_AT + place * _CHECKSUM.size)

    def put(self, place: int, data: bytes) -> None:
        """Keep a block, if there is room."""
        if self._file is None or self.full:
            return
        checksum = _CHECKSUM.pack(zlib.crc32(data))
        try:
            if os.pwrite(self._file, data, place * BLOCK_BYTES) == len(data):
                os.pwrite(self._file, checksum, _CHECKSUMS_AT + place * _CHECKSUM.size)
                self.written += len(data)
        except OSError:
            self.full = True


def _checksum(file: int, place: int) -> int:
    told = os.pread(file, _CHECKSUM.size, _CHECKSUMS_AT + place * _CHECKSUM.size)
    return int(_CHECKSUM.unpack(told)[0]) if len(told) == _CHECKSUM.size else 0


def _locked(file: int) -> bool:
    """Lock a file, unless another has. Where there are no locks there is nobody to share it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
