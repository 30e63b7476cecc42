"""The storage of one machine: objects as files of a local directory."""

import errno
import fcntl
import logging
import mimetypes
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from cutmv.storage.base import (
    CHUNK_BYTES,
    NoSpace,
    ObjectNotFound,
    ObjectStat,
    StorageError,
    StorageUnavailable,
    TooLarge,
)

#: The folder, inside the root, of files that are still being written; no key starts with a dot.
PARTIAL_FOLDER = ".partial"
#: The system's errors for a disk, or a quota, that is full.
FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


class LocalStorage:
    """A directory; each object is a file, which appears there by one rename, whole and synced.

    >>> storage = LocalStorage(Path("/var/lib/cutmv/files"))
    """

    def __init__(self, root: Path, *, in_use: bool = False) -> None:
        """Make the folder `root`, unless it is `in_use`: an empty one would hide what is away."""
        self._root = root
        self._partial = root / PARTIAL_FOLDER
        if not in_use:
            with self._errors("make"):
                self._partial.mkdir(parents=True, exist_ok=True)
        elif not self._partial.is_dir():
            log.warning(
                "%s is not there: mount the disk that it is on. If it was deleted: mkdir -p %s",
                *(self._partial, self._partial),
            )

    def put_stream(self, key: str, stream: IO[bytes], *, content_type: str, max_bytes: int) -> int:
        """See Storage. The content type is kept in the key's extension, if anywhere."""
        del content_type
        path, size = self._path(key), 0
        with self._new_file() as (file, partial):
            while chunk := stream.read(CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"More than the {max_bytes} bytes allowed were sent.")
                with self._errors("write"):
                    file.write(chunk)
            self._keep(file, partial, path, if_absent=False)
        return size

    def put_file(self, key: str, path: Path, *, content_type: str, if_absent: bool = False) -> bool:
        """See Storage."""
        del content_type
        with self._new_file() as (file, partial):
            with self._errors("write"), path.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
            return self._keep(file, partial, self._path(key), if_absent=if_absent)

    @contextmanager
    def open_range(
        self, key: str, start: int = 0, length: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """See Storage."""
        with self._errors("read"):
            file = self._path(key).open("rb")
        with file:
            file.seek(start)
            yield self._chunks(file, length)

    def stat(self, key: str) -> ObjectStat:
        """See Storage."""
        with self._errors("read"):
            return self._stat(key, self._path(key))

    def source(self, key: str) -> str:
        """See Storage: a path."""
        return str(self._path(key))

    def delete(self, key: str) -> None:
        """See Storage."""
        with self._errors("delete"):
            path = self._path(key)
            path.unlink(missing_ok=True)
            # A folder belongs to one object, or to one job: delete it once it is empty.
            with suppress(OSError):
                path.parent.rmdir()

    def delete_prefix(self, prefix: str) -> None:
        """See Storage."""
        with self._errors("delete"), suppress(FileNotFoundError):
            shutil.rmtree(self._path(prefix))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """See Storage."""
        with self._errors("list"):
            paths = sorted(self._path(prefix).rglob("*"))
        for path in paths:
            with suppress(ObjectNotFound), self._errors("list"):
                if path.is_file():
                    yield self._stat(path.relative_to(self._root).as_posix(), path)

    def delete_unfinished(self, older_s: float) -> None:
        """See Storage. Each is locked for as long as its process lives."""
        with self._errors("list"):
            partials = list(self._partial.iterdir())
        for partial in partials:
            with suppress(ObjectNotFound), self._errors("delete"), partial.open("rb") as file:
                if _lock(file, fcntl.LOCK_NB, else_=_is_old(file, older_s)):
                    partial.unlink()

    def check(self) -> None:
        """See Storage."""
        with self._errors("write"), tempfile.TemporaryFile(dir=self._partial) as file:
            file.write(b"\0")

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        # We make all keys ourselves; a key that could leave the root is a bug of ours.
        if not parts or key.startswith("/") or any(p.startswith(".") or "\0" in p for p in parts):
            raise StorageError(f"The key {key!r} can't be used: a part of it starts with a dot.")
        return self._root.joinpath(*parts)

    def _stat(self, key: str, path: Path) -> ObjectStat:
        status = path.stat()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        etag = f"{status.st_size:x}-{status.st_mtime_ns:x}"
        return ObjectStat(key, status.st_size, kind, etag, status.st_mtime)

    @contextmanager
    def _new_file(self) -> Iterator[tuple[IO[bytes], Path]]:
        with self._errors("write"):
            file, name = self._locked_file()
        try:
            yield file, Path(name)
        finally:
            with suppress(OSError):  # what is kept was written before
                file.close()
            with suppress(OSError):  # what can't be deleted now is once its process is gone
                Path(name).unlink(missing_ok=True)

    def _locked_file(self) -> tuple[IO[bytes], str]:
        """A file whose lock tells that its process lives. Raises OSError."""
        while True:
            number, name = tempfile.mkstemp(dir=self._partial)
            file = os.fdopen(number, "wb")
            _lock(file, 0, else_=True)
            if os.fstat(number).st_nlink:  # else it was swept just before
                return file, name
            file.close()

    def _keep(self, file: IO[bytes], partial: Path, path: Path, *, if_absent: bool) -> bool:
        """Move a written file to its place, synced to disk; False if there is a file already."""
        with self._errors("write"):
            file.flush()
            os.fsync(file.fileno())
            path.parent.mkdir(parents=True, exist_ok=True)
            if if_absent:
                try:
                    path.hardlink_to(partial)
                except FileExistsError:
                    return False
            else:
                partial.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return True

    def _chunks(self, file: IO[bytes], length: int | None) -> Iterator[bytes]:
        left = length
        while left is None or left > 0:
            with self._errors("read"):
                chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn the file system's errors into ours, which do not show users the path."""
        try:
            yield
        except FileNotFoundError as error:
            # Where our own folder is gone, no object is missing: all are out of reach.
            if self._partial.is_dir():
                raise ObjectNotFound("There is no such file in the storage.") from error
            raise StorageUnavailable(f"The storage can't {what}: its folder is gone.") from error
        except OSError as error:
            reason = error.strerror or error
            kind = NoSpace if error.errno in FULL else StorageUnavailable
            raise kind(f"The storage can't {what}: {reason}.") from error


def _lock(file: IO[bytes], flags: int, *, else_: bool) -> bool:
    """Lock a file unless another has; `else_` is the answer where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        return False
    except OSError:
        return else_
    return True


def _is_old(file: IO[bytes], age_s: float) -> bool:
    return os.fstat(file.fileno()).st_mtime < time.time() - age_s
