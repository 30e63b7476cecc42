"""What a storage is: objects under keys, written whole or not at all.

Exception
└── StorageError            the storage refused or failed
    ├── StorageUnavailable  the storage is away or full: the same call works once it is back
    │   └── NoSpace         there is too little room on a disk of this machine
    ├── ObjectNotFound      there is no object of this key
    ├── TooLarge            the stream was longer than it may be; nothing was kept
    └── PartDamaged         a part has other bytes than it was to have; it is not stored
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
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


class PartDamaged(StorageError):
    """A part of a multipart upload has other bytes than were told, or fewer; it is not stored."""


@dataclass(frozen=True)
class ObjectStat:
    """An object: its key, size in bytes, entity tag, and time of change (seconds since 1970)."""

    key: str
    size: int
    content_type: str
    etag: str
    modified: float


@dataclass(frozen=True)
class StoredPart:
    """A part of a multipart upload: its number from 1, bytes, and entity tag, the MD5 in hex."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True)
class IncomingPart:
    """A part that is to be sent: its number from 1, bytes, and at which byte it begins.

    With `md5`, of 16 bytes, no other bytes are taken.
    """

    number: int
    size: int
    offset: int
    md5: bytes | None = None

    @property
    def content_md5(self) -> str | None:
        """What the header Content-MD5 says (RFC 1864)."""
        return None if self.md5 is None else b64encode(self.md5).decode()


@dataclass(frozen=True)
class SignedPart:
    """Where a part may be sent by PUT, and the headers that the request must have."""

    url: str
    headers: dict[str, str]


class Multipart(Protocol):
    """Objects that come in parts, in any order and more than once, as S3's multipart uploads.

    All parts but the last have one size. Every method raises StorageError when it fails, and
    ObjectNotFound where there is no such upload: it is completed, aborted or expired.
    """

    @property
    def origin(self) -> str | None:
        """The origin to which clients send parts themselves; None where we must take all."""

    def create(self, key: str, *, content_type: str) -> str:
        """Begin one; returns its id."""

    def sign(self, key: str, upload_id: str, part: IncomingPart) -> SignedPart | None:
        """Where a client may send a part itself; None where we must take it."""

    def put(self, key: str, upload_id: str, part: IncomingPart, stream: IO[bytes]) -> StoredPart:
        """Store a part. Raises PartDamaged, and what the stream raises: it is not stored then."""

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """The parts that are stored, by number."""

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        """Make the object of all its parts, whole."""

    def abort(self, key: str, upload_id: str) -> None:
        """Delete all parts; that they are gone already is no error."""


class Storage(Protocol):
    """Objects under keys like `jobs/ID/NAME`. Every method raises StorageError when it fails.

    Threads may share a storage.
    """

    @property
    def multipart(self) -> Multipart:
        """Objects that come in parts."""

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

    def delete_unfinished(self, older_s: float, prefixes: tuple[str, ...]) -> None:
        """Delete unfinished writes of processes that are gone.

        Where nobody can tell they are those that began `older_s` seconds ago or earlier. Where
        others may write too, only keys that start with one of `prefixes` are ours.
        """

    def check(self) -> None:
        """Raise StorageError unless the storage answers and can be written."""
