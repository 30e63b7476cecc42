"""The folder of a local storage: where its files are, and its system's errors as ours."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from cutmv.storage.base import NoSpace, ObjectNotFound, StorageError, StorageUnavailable

#: The folder, inside the root, of files that are still being written; no key starts with a dot.
PARTIAL_FOLDER = ".partial"
#: The system's errors for a disk, or a quota, that is full.
FULL = (errno.ENOSPC, errno.EDQUOT)


class Root:
    """A folder of objects by their keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.partial = folder, folder / PARTIAL_FOLDER

    def path(self, key: str) -> Path:
        """The path of an object's file. Raises StorageError for a key that can't be used."""
        parts = PurePosixPath(key).parts
        # We make all keys ourselves; a key that could leave the root is a bug of ours.
        if not parts or key.startswith("/") or any(p.startswith(".") or "\0" in p for p in parts):
            raise StorageError(f"The key {key!r} can't be used: a part of it starts with a dot.")
        return self.folder.joinpath(*parts)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn the file system's errors into ours, which do not show users the path."""
        try:
            yield
        except FileNotFoundError as error:
            # Where our own folder is gone, no object is missing: all are out of reach.
            if self.partial.is_dir():
                raise ObjectNotFound("There is no such file in the storage.") from error
            raise StorageUnavailable(f"The storage can't {what}: its folder is gone.") from error
        except OSError as error:
            reason = error.strerror or error
            kind = NoSpace if error.errno in FULL else StorageUnavailable
            raise kind(f"The storage can't {what}: {reason}.") from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a loss of power. Raises OSError."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
