"""The storage of one machine: objects as files of a local directory."""

import fcntl
import logging
import mimetypes
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cutmv.storage.base import (
    CHUNK_BYTES,
    ObjectNotFound,
    ObjectStat,
    TooLarge,
)
from cutmv.storage.local_multipart import LocalMultipart
from cutmv.storage.local_root import Root, sync_folder

log = logging.getLogger(__name__)


class LocalStorage:
    """A directory; each object is a file, which appears there by one rename, whole and synced.

    >>> storage = LocalStorage(Path("/var/lib/cutmv/files"))
    """

    def __init__(self, root: Path, *, in_use: bool = False) -> None:
        """Make the folder `root`, unless it is `in_use`: an empty one would hide what is away."""
        self._root = Root(root)
        self._partial = self._root.partial
        self.multipart = LocalMultipart(self._root)
        if not in_use:
            with self._root.errors("make"):
                self._partial.mkdir(parents=True, exist_ok=True)
        elif not self._partial.is_dir():
            log.warning(
                "%s is not there: mount the disk that it is on. If it was deleted: mkdir -p %s",
                *(self._partial, self._partial),
            )

    def put_stream(self, key: str, stream: IO[bytes], *, content_type: str, max_bytes: int) -> int:
        """See Storage. The content type is kept in the key's extension, if anywhere."""
        del content_type
        path, size = self._root.path(key), 0
        with self._new_file() as (file, partial):
            while chunk := stream.read(CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"More than the {max_bytes} bytes allowed were sent.")
                with self._root.errors("write"):
                    file.write(chunk)
            self._keep(file, partial, path, if_absent=False)
        return size

    def put_file(self, key: str, path: Path, *, content_type: str, if_absent: bool = False) -> bool:
        """See Storage."""
        del content_type
        with self._new_file() as (file, partial):
            with self._root.errors("write"), path.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
            return self._keep(file, partial, self._root.path(key), if_absent=if_absent)

    @contextmanager
    def open_range(
        self, key: str, start: int = 0, length: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """See Storage."""
        with self._root.errors("read"):
            file = self._root.path(key).open("rb")
        with file:
            file.seek(start)
            yield self._chunks(file, length)

    def stat(self, key: str) -> ObjectStat:
        """See Storage."""
        with self._root.errors("read"):
            return self._stat(key, self._root.path(key))

    def source(self, key: str) -> str:
        """See Storage: a path."""
        return str(self._root.path(key))

    def delete(self, key: str) -> None:
        """See Storage."""
        with self._root.errors("delete"):
            path = self._root.path(key)
            path.unlink(missing_ok=True)
            # A folder belongs to one object, or to one job: delete it once it is empty.
            with suppress(OSError):
                path.parent.rmdir()

    def delete_prefix(self, prefix: str) -> None:
        """See Storage."""
        with self._root.errors("delete"), suppress(FileNotFoundError):
            shutil.rmtree(self._root.path(prefix))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """See Storage."""
        with self._root.errors("list"):
            paths = sorted(self._root.path(prefix).rglob("*"))
        for path in paths:
            with suppress(ObjectNotFound), self._root.errors("list"):
                if path.is_file():
                    yield self._stat(path.relative_to(self._root.folder).as_posix(), path)

    def delete_unfinished(self, older_s: float, prefixes: tuple[str, ...] = ()) -> None:
        """See Storage. A file is locked for as long as its process lives; all here is ours."""
        del prefixes
        self.multipart.delete_unfinished(older_s)
        with self._root.errors("list"):
            partials = list(self._partial.iterdir())
        for partial in partials:
            with suppress(ObjectNotFound), self._root.errors("delete"), partial.open("rb") as file:
                if _lock(file, fcntl.LOCK_NB, else_=_is_old(file, older_s)):
                    partial.unlink()

    def check(self) -> None:
        """See Storage."""
        with self._root.errors("write"), tempfile.TemporaryFile(dir=self._partial) as file:
            file.write(b"\0")

    def _stat(self, key: str, path: Path) -> ObjectStat:
        status = path.stat()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        etag = f"{status.st_size:x}-{status.st_mtime_ns:x}"
        return ObjectStat(key, status.st_size, kind, etag, status.st_mtime)

    @contextmanager
    def _new_file(self) -> Iterator[tuple[IO[bytes], Path]]:
        with self._root.errors("write"):
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
        with self._root.errors("write"):
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
            sync_folder(path.parent)
        return True

    def _chunks(self, file: IO[bytes], length: int | None) -> Iterator[bytes]:
        left = length
        while left is None or left > 0:
            with self._root.errors("read"):
                chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk


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
