"""Puts the results of `cutmv cut` into one ZIP."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cutmv.media import MediaError
from cutmv.storage import Archive, ArchivedFile, crc32_of

#: Bytes of a file that are read at once.
BLOCK_BYTES = 1 << 20


def write_zip(results: Sequence[Path], archive: Path, *, overwrite: bool) -> None:
    """Put files into a ZIP, which appears whole or not at all.

    Raises OSError, and MediaError where there is a file of its name that is not to be replaced.
    """
    files = [_archived(path) for path in results]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}.") as own:
        partial_zip = Path(own, "made.zip")
        with partial_zip.open("wb") as out:
            out.writelines(Archive(files, time.time()).read())
        if archive.exists() and not overwrite:
            raise MediaError(f"There is a file named {archive.name!r} already.")
        partial_zip.replace(archive)


def refuse_zip_over(archive: Path, files: Iterable[Path]) -> None:
    """Raise MediaError when a ZIP has the place of the video, or of a result: it would be lost."""
    place = archive.resolve()
    if any(path.resolve() == place for path in files):
        raise MediaError(f"{archive} is the video or a result: name another file by --zip.")


def refuse_unwritable(archive: Path) -> None:
    """Raise MediaError when no ZIP can be written there; its folder is made if missing."""
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=archive.parent, prefix=f".{archive.name}."):
            pass
    except OSError as error:
        raise MediaError(f"{archive} can't be written: {error.strerror}.") from error


def _archived(path: Path) -> ArchivedFile:
    size = path.stat().st_size
    with _blocks(path, 0, size) as blocks:
        return ArchivedFile(path.name, size, crc32_of(blocks), partial(_blocks, path))


@contextmanager
def _blocks(path: Path, start: int, length: int) -> Iterator[Iterator[bytes]]:
    """The bytes of a result, all of which are wanted."""
    del start, length
    with path.open("rb") as file:
        yield iter(partial(file.read, BLOCK_BYTES), b"")
