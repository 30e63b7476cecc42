"""One ZIP of many files, of which any range is made when it is read; nothing of it is kept.

The files are stored as they are, since films and pictures are compressed already. Their sizes and
checksums are known before, so the ZIP's own bytes are too: who goes on in its middle, or reads its
end, costs no more than what they read. The libraries that stream a ZIP make it from its start.

The numbers in the comments are sections of PKWARE's APPNOTE, which says what a ZIP is.
"""

import hashlib
import struct
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePath

from cutmv.storage.base import StorageError

#: The first and the last time that a ZIP can tell, in seconds since 1970.
EARLIEST_S, LATEST_S = 315_532_800.0, 4_354_819_198.0
#: What stands for a number that is told in 64 bits elsewhere: of sizes and offsets, of counts.
IN_64, COUNT_IN_64 = 0xFFFF_FFFF, 0xFFFF
#: The version that can read it, without and with 64 bits (4.4.3), and that it is of a Unix (4.4.2).
VERSION, VERSION_64, UNIX = 20, 45, 3 << 8
#: That names are in UTF-8 (4.4.4), and a regular file that its owner may write (4.4.15).
UTF_8, MODE = 0x0800, (0o100644 << 16)

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")


@dataclass(frozen=True)
class ArchivedFile:
    """A file of an archive: its name there, its bytes and their CRC-32, and what opens a range.

    `opened` is given a start and a length.
    """

    name: str
    size: int
    crc32: int
    opened: Callable[[int, int], AbstractContextManager[Iterator[bytes]]]


@dataclass(frozen=True)
class _Part:
    """Bytes of an archive from `start`: its own, or a file's."""

    start: int
    size: int
    content: bytes | ArchivedFile


def crc32_of(blocks: Iterable[bytes]) -> int:
    """The CRC-32 of a file by its blocks."""
    found = 0
    for block in blocks:
        found = zlib.crc32(block, found)
    return found


class Archive:
    """The ZIP of some files, all of which were `modified_s`, in seconds since 1970.

    A name that is there already, in small or capital letters, gets a number. It may be of any size.
    """

    def __init__(self, files: Sequence[ArchivedFile], modified_s: float) -> None:
        at, taken, end = _dos_time(modified_s), set[str](), 0
        parts, directory = [], []
        for file in files:
            name = _free(file.name, taken).encode()
            directory.append(_central(name, file, at, end))
            for content in (_local(name, file, at), file):
                size = len(content) if isinstance(content, bytes) else content.size
                parts.append(_Part(end, size, content))
                end += size
        last = b"".join(directory)
        last += _end(len(files), len(last), end)
        self._parts = [*parts, _Part(end, len(last), last)]
        #: Bytes of all of it.
        self.size = end + len(last)
        #: A name for its bytes: another if any of them is another.
        self.etag = hashlib.sha256(last).hexdigest()[:32]

    def read(self, start: int = 0, length: int | None = None) -> Generator[bytes, None, None]:
        """The bytes from `start`: `length` of them, or all.

        Raises StorageError, also where a file has not the bytes that it should have.
        """
        end = self.size if length is None else min(self.size, start + length)
        for part in self._parts:
            since = max(start, part.start) - part.start
            until = min(end, part.start + part.size) - part.start
            if since >= until:
                continue
            if isinstance(part.content, bytes):
                yield part.content[since:until]
            else:
                yield from _read(part.content, since, until - since)


def _read(file: ArchivedFile, start: int, length: int) -> Iterator[bytes]:
    left = length
    with file.opened(start, length) as blocks:
        for block in blocks:
            left -= len(block)
            yield block
    if left:
        raise StorageError(f"A file of an archive has {abs(left)} bytes more or less than it had.")


def _local(name: bytes, file: ArchivedFile, at: tuple[int, int]) -> bytes:
    """The header before a file (4.3.7)."""
    extra, size = b"", file.size
    if size >= IN_64:
        extra, size = struct.pack("<2H2Q", 1, 16, size, size), IN_64
    version = VERSION_64 if extra else VERSION
    head = (b"PK\x03\x04", version, UTF_8, 0, *at, file.crc32, size, size, len(name), len(extra))
    return _LOCAL.pack(*head) + name + extra


def _central(name: bytes, file: ArchivedFile, at: tuple[int, int], offset: int) -> bytes:
    """The entry of a file in the directory (4.3.12)."""
    size = min(file.size, IN_64)
    told = [file.size, file.size] if size == IN_64 else []
    if offset >= IN_64:
        told.append(offset)
    extra = struct.pack(f"<2H{len(told)}Q", 1, 8 * len(told), *told) if told else b""
    version = VERSION_64 if extra else VERSION
    head = (b"PK\x01\x02", UNIX | VERSION_64, version, UTF_8, 0, *at, file.crc32, size, size)
    rest = (len(name), len(extra), 0, 0, 0, MODE, min(offset, IN_64))
    return _CENTRAL.pack(*head, *rest) + name + extra


def _end(count: int, size: int, offset: int) -> bytes:
    """What follows the directory (4.3.14 to 4.3.16)."""
    found = b""
    if count >= COUNT_IN_64 or size >= IN_64 or offset >= IN_64:
        versions = (UNIX | VERSION_64, VERSION_64)
        found = _END_64.pack(b"PK\x06\x06", 44, *versions, 0, 0, count, count, size, offset)
        found += _LOCATOR_64.pack(b"PK\x06\x07", 0, offset + size, 1)
    few = min(count, COUNT_IN_64)
    told = (few, few, min(size, IN_64), min(offset, IN_64), 0)
    return found + _END.pack(b"PK\x05\x06", 0, 0, *told)


def _dos_time(at_s: float) -> tuple[int, int]:
    """A time and a date as DOS told them, to two seconds (4.4.6)."""
    at = time.gmtime(min(max(EARLIEST_S, at_s), LATEST_S))
    clock = at.tm_hour << 11 | at.tm_min << 5 | min(at.tm_sec, 59) // 2
    return clock, (at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday


def _free(name: str, taken: set[str]) -> str:
    path, found, copy = PurePath(name), name, 1
    while found.casefold() in taken:
        copy += 1
        found = f"{path.stem}-{copy}{path.suffix}"
    taken.add(found.casefold())
    return found
