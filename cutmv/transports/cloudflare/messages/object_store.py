"""The interface of an object store for large messages and lease records.

Its implementations are a bucket (`r2_store`) and a directory (`directory_store`); `stores` opens
the one that a URL names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object, its tag, which a conditional write names, and its age by the store's clock (s)."""

    data: bytes
    etag: str
    age: float


class ObjectStore(Protocol):
    """A store of objects. Threads share it. All methods raise `ObjectStoreError` when it fails."""

    def get(self, key: str) -> StoredObject:
        """Return an object; raises `ObjectMissing`."""
        ...

    def put(self, key: str, data: bytes) -> str:
        """Write an object, in place of any with this key; return its tag."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """Write an object and return its tag, or none where there is one already."""
        ...

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """Replace the object that has this tag and return the new tag; none if it is gone."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; an object that is gone already is no error."""
        ...

    def expire(self, prefix: str, days: int) -> None:
        """Have objects whose key starts with `prefix` removed `days` after their last change."""
        ...
