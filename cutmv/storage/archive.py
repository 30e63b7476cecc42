"""One ZIP of many files, made as it is read: nothing is held in memory or in a temporary file."""

import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePath

#: The first time that a ZIP can tell, in seconds since 1970.
EARLIEST_S = 315_532_800.0


@dataclass(frozen=True)
class ArchivedFile:
    """A file of an archive: its name there, and what opens its bytes."""

    name: str
    opened: Callable[[], AbstractContextManager[Iterator[bytes]]]


def zipped(files: Iterable[ArchivedFile], modified_s: float) -> Iterator[bytes]:
    """The bytes of a ZIP of `files`, as they are: films and pictures are compressed already.

    All were `modified_s`, in seconds since 1970. A name that is there already, in small or capital
    letters, gets a number. Each file may be of any size (ZIP64).
    """
    out = _Passed()
    at = time.gmtime(max(EARLIEST_S, modified_s))[:6]
    taken: set[str] = set()
    with zipfile.ZipFile(out, "w") as archive:  # type: ignore[call-overload] # it only writes
        for file in files:
            entry = zipfile.ZipInfo(_free(file.name, taken), at)
            entry.external_attr = 0o644 << 16
            with file.opened() as blocks, archive.open(entry, "w", force_zip64=True) as written:
                for block in blocks:
                    written.write(block)
                    yield out.taken()
    yield out.taken()


def _free(name: str, taken: set[str]) -> str:
    path, found, copy = PurePath(name), name, 1
    while found.casefold() in taken:
        copy += 1
        found = f"{path.stem}-{copy}{path.suffix}"
    taken.add(found.casefold())
    return found


class _Passed:
    """A file that can only be written to, and gives what was written."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._blocks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)
