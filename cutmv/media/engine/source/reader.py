"""Reads the bytes of a source: those of a file in place, or of a relay what is needed alone."""

from __future__ import annotations

import errno
import os
from http import HTTPStatus
from io import FileIO
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from http.client import HTTPResponse

#: Seconds without a byte after which a relay is given up; it retries for as long.
SILENCE_S = 240
#: Bytes asked of a relay at once, at most: who reads on and on asks for twice as many each time.
MOST = 1_048_576


class Reader(Protocol):
    """A source as the libraries read it."""

    def read(self, size: int) -> bytes:
        """Return bytes, `size` at most, none at the end. Raises OSError."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""

    def tell(self) -> int:
        """Return the place of the next byte."""

    def close(self) -> None:
        """Close what it reads from."""


class Total:
    """The bytes of its source that this process has read; it does one request."""

    bytes = 0


def reader(name: str) -> Reader:
    """Return a reader of `name`, a path or the address of a relay. Raises OSError."""
    return _OfRelay(name) if name.startswith("http://") else _OfFile(name)


class _OfFile:
    def __init__(self, path: str) -> None:
        self._file = FileIO(path)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        Total.bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class _OfRelay:
    def __init__(self, url: str) -> None:
        from http import client  # a file needs none, and it takes its time

        self._failure = client.HTTPException
        parts = urlsplit(url)
        self._path = parts.path
        self._connection = client.HTTPConnection(parts.netloc, timeout=SILENCE_S)
        self._at, self._size = 0, -1
        self._held, self._held_at, self._next = b"", 0, 0

    def read(self, size: int) -> bytes:
        offset = self._at - self._held_at
        if not 0 <= offset < len(self._held):
            self._ask(size)
            offset = 0
        data = self._held[offset : offset + size]
        self._at += len(data)
        Total.bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self._size < 0:
            self._ask(1)
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._connection.close()

    def _ask(self, least: int) -> None:
        """Get the bytes from here on: `least`, and what more the relay has of what was asked."""
        goes_on = self._held and self._at == self._held_at + len(self._held)
        self._next = min(MOST, 2 * max(least, self._next)) if goes_on else least
        asked = {"Range": f"bytes={self._at}-{self._at + self._next - 1}", "Least": str(least)}
        try:
            self._connection.request("GET", self._path, headers=asked)
            answer = self._connection.getresponse()
            self._held, self._held_at = self._taken(answer), self._at
        except self._failure as error:
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error

    def _taken(self, answer: HTTPResponse) -> bytes:
        data = answer.read()
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            self._size = int(answer.headers["Content-Range"].rpartition("/")[2])
            return data
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._size = int(answer.headers["Content-Range"].rpartition("/")[2])
            return b""
        raise OSError(errno.EIO, os.strerror(errno.EIO))
