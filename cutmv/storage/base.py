"""What a storage is: objects under keys, written whole or not at all.

Exception
└── StorageError            the storage refused or failed
    ├── StorageUnavailable  the storage is away or full: the same call works once it is back
    │   └── NoSpace         there is too little room on a disk of this machine
    ├── ObjectNotFound      there is no object of this key
    └── TooLarge            the stream was longer than it may be; nothing was kept
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

#: Bytes of a stream that are read at a time.
CHUNK_BYTES = 1_048_576


class StorageError(Exception):
    """The storage failed. One line without secrets; trying again may help."""


class StorageUnavailable(StorageError):
    """The storage does not answer, or has no room; the same call works once that has changed."""


class NoSpace(StorageUnavailable):
    """A disk has too little room; the same call works once some is freed."""


class ObjectNotFound(StorageError):
    """There is no object of this key."""


class TooLarge(StorageError):
    """A stream was longer than allowed; nothing of it was kept."""


@dataclass(frozen=True)
class ObjectStat:
    """An object: its key, size in bytes, entity tag, and time of change (seconds since 1970)."""

    key: str
    size: int
    content_type: str
    etag: str
    modified: float


class Storage(Protocol):
    """Objects under keys like `jobs/ID/NAME`. Every method raises StorageError when it fails.

    Threads may share a storage.
    """

    def put_stream(self, key: str, stream: IO[bytes], *, content_type: str, max_bytes: int) -> int:
        """Store what `stream` has, at most `max_bytes`; returns its size. Raises TooLarge.

        What the stream raises is passed on, and nothing is kept.
        """

    def put_file(self, key: str, path: Path, *, content_type: str, if_absent: bool = False) -> bool:
        """Store a file; with `if_absent` only if there is no object yet, else False."""

    def open_range(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes from `start`: `length` of them, or all. Raises ObjectNotFound on entry."""

    def stat(self, key: str) -> ObjectStat:
        """What is known of an object. Raises ObjectNotFound."""

    def source(self, key: str) -> str:
        """What FFmpeg opens to read an object: a path, or a URL valid for hours."""

    def delete(self, key: str) -> None:
        """Delete an object; that it is gone already is no error."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete all objects whose keys start with `prefix`, which ends with a slash."""

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """All objects whose keys start with `prefix`, which ends with a slash."""

    def delete_unfinished(self, older_s: float) -> None:
        """Delete unfinished writes of processes that are gone.

        Where nobody can tell they are those that began `older_s` seconds ago or earlier.
        """

    def check(self) -> None:
        """Raise StorageError unless the storage answers and can be written."""
