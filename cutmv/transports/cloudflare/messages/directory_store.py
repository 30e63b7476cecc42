"""A directory of this machine as an object store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import uuid4

from cutmv.transports.cloudflare.errors import ObjectMissing, ObjectStoreError
from cutmv.transports.cloudflare.messages.object_store import StoredObject


class DirectoryObjectStore:
    """A directory of this machine; changes are atomic and hold a lock. See `ObjectStore`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, key: str) -> StoredObject:
        """See `ObjectStore`."""
        with self._told("read"), self._path(key).open("rb") as file:
            data, written = file.read(), os.fstat(file.fileno()).st_mtime
        return StoredObject(data, _etag(data), max(0.0, time.time() - written))

    def put(self, key: str, data: bytes) -> str:
        """See `ObjectStore`."""
        with self._told("write"), self._locked():
            return self._write(key, data)

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """See `ObjectStore`."""
        with self._told("write"), self._locked():
            return None if self._path(key).exists() else self._write(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """See `ObjectStore`."""
        with self._told("write"), self._locked():
            try:
                found = _etag(self._path(key).read_bytes())
            except FileNotFoundError:
                return None
            return self._write(key, data) if found == etag else None

    def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore`."""
        with self._told("delete"), self._locked():
            for key in keys:
                self._path(key).unlink(missing_ok=True)

    def expire(self, prefix: str, days: int) -> None:
        """See `ObjectStore`. Removes only the objects that are that old now, none later."""
        latest = time.time() - days * 86_400
        with self._told("delete"), self._locked():
            for path in self._directory.rglob("*"):
                key = path.relative_to(self._directory).as_posix()
                if key.startswith(prefix) and path.is_file() and path.stat().st_mtime < latest:
                    path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if ".." in PurePosixPath(key).parts:
            raise ObjectMissing(f"directory {str(self._directory)!r}: no key is {key!r}")
        return self._directory / key

    def _write(self, key: str, data: bytes) -> str:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return _etag(data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl  # missing on Windows, where only this class needs it

        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        where = f"directory {str(self._directory)!r}: can't {what}"
        try:
            yield
        except FileNotFoundError as error:
            kind = ObjectMissing if self._directory.is_dir() else ObjectStoreError
            raise kind(f"{where}: {error.strerror}") from None
        except OSError as error:
            raise ObjectStoreError(f"{where}: {error.strerror}") from None


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
