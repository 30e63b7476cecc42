"""Reads the bytes of a source: those of a file in place, or of a relay what is needed alone."""

from __future__ import annotations

import errno
import os
from http import HTTPStatus
from io import FileIO
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from http.client import HTTPResponse

#: How the name of a relay begins; its socket's descriptor follows.
RELAY = "relay:"
#: Seconds without a byte after which a relay is given up; it retries for as long.
SILENCE_S = 240
#: Bytes asked of a relay at once, at most: who reads on and on asks for twice as many each time.
MOST = 1_048_576
#: Bytes asked of a relay at once where it is known that they will be read, and how many such parts
#: of a source are known at once: the index, the picture, the sound.
MOST_EXPECTED, EXPECTED = 4 * 1_048_576, 4
#: Bytes after such a part in which little more is expected, and what is fetched ahead there, as a
#: part of what was read of them.
MOST_BEYOND, BEYOND = 16 * 1_048_576, 4
#: Boxes of an MP4 before its index, at most.
MOST_BOXES = 16
#: The ids of a Matroska's two outermost elements. RFC 8794, 11.2.1; RFC 9559, 5.1.
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


class Reader(Protocol):
    """A source as the libraries read it."""

    def read(self, size: int) -> bytes:
        """Return bytes, `size` at most, none at the end. Raises OSError."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""

    def tell(self) -> int:
        """Return the place of the next byte."""

    def expect(self, first: int, past: int, *, sure: bool = True) -> None:
        """Note that what is from byte `first` to before `past` will be read, and little after it.

        What is not `sure` is no more than a guess.
        """

    def close(self) -> None:
        """Close what it reads from."""


class Total:
    """What this process has read of its sources; it does one request.

    `failure` is why a file could not be read somewhere: its disk fails. Demuxers take that for the
    file's end, so nothing that was made then is believed.
    """

    bytes = 0
    failure: str | None = None


def reader(name: str) -> Reader:
    """Return a reader of `name`, a path or the name of a relay. Raises OSError."""
    descriptor = descriptor_of(name)
    return _OfFile(name) if descriptor is None else _OfRelay(descriptor)


def descriptor_of(name: str) -> int | None:
    """The descriptor of the socket to a relay that `name` tells; none where it is a path."""
    head, _, number = name.partition(RELAY)
    return int(number) if not head and number.isdecimal() else None


def is_relay(name: str) -> bool:
    """Say whether `name` is that of a relay, whose bytes come from afar."""
    return descriptor_of(name) is not None


def connected(descriptor: int) -> socket.socket:
    """Return a new connection to the relay of which the process has this descriptor.

    Its other end goes to the relay through that, since a process in the sandbox can connect to
    nobody. Raises OSError.
    """
    import socket

    ours, theirs = socket.socketpair()
    with theirs, socket.socket(fileno=os.dup(descriptor)) as relay:
        socket.send_fds(relay, [b"+"], [theirs.fileno()])
    ours.settimeout(SILENCE_S)
    return ours


class _OfFile:
    def __init__(self, path: str) -> None:
        self._file = FileIO(path)

    def read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            Total.failure = error.strerror
            raise
        Total.bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def expect(self, first: int, past: int, *, sure: bool = True) -> None:
        del first, past, sure  # they are here

    def close(self) -> None:
        self._file.close()


class _OfRelay:
    def __init__(self, descriptor: int) -> None:
        from http import client  # a file needs none, and it takes its time

        self._failure = client.HTTPException
        self._connection = client.HTTPConnection("relay")
        self._connection.sock = connected(descriptor)
        self._at, self._size = 0, -1
        self._held, self._held_at, self._next = b"", 0, 0
        self._expected: list[tuple[int, int, bool]] = []

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

    def expect(self, first: int, past: int, *, sure: bool = True) -> None:
        self._expected = [*self._expected[1 - EXPECTED :], (first, past, sure)]

    def close(self) -> None:
        self._connection.close()

    def _ask(self, least: int) -> None:
        """Get the bytes from here on: `least`, and what more the relay has of what was asked."""
        goes_on = self._held and self._at == self._held_at + len(self._held)
        self._next = min(MOST, 2 * max(least, self._next)) if goes_on else least
        asked: dict[str, str] = {}
        for first, past, sure in self._expected:
            if first <= self._at < past + MOST_BEYOND:
                beyond = max(0, self._at - past)
                if sure and not beyond:
                    least = max(least, min(MOST_EXPECTED, past - self._at))
                asked["Until"] = str(max(past, self._at + least + beyond // BEYOND))
        self._next = max(self._next, least)
        asked |= {"Range": f"bytes={self._at}-{self._at + self._next - 1}", "Least": str(least)}
        try:
            self._connection.request("GET", "/", headers=asked)
            answer = self._connection.getresponse()
            self._held, self._held_at = self._taken(answer), self._at
        except (OSError, self._failure) as error:
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


def expect_index(source: Reader) -> None:
    """Have the index of an MP4 read at once, wherever it is. ISO 14496-12, 4.2: boxes."""
    at = 0
    for _ in range(MOST_BOXES):
        source.seek(at)
        head, whole = source.read(16), source.seek(0, os.SEEK_END)
        size, kind = int.from_bytes(head[:4]), head[4:8]
        size = int.from_bytes(head[8:16]) if size == 1 else size
        if kind == b"moov":
            source.expect(at, min(at + size, whole))
        if kind == b"moov" or size < 8 or at + size > whole:
            break
        at += size
    source.seek(0)


def promised_size(source: Reader) -> int | None:
    """Return how many bytes a Matroska has by its own header; none where that does not tell.

    RFC 8794, 4: a size has as many bytes as its first has zeros in front, and one; all ones tell
    none.
    """
    at = 0
    for name in (EBML, SEGMENT):
        source.seek(at)
        head = source.read(12)
        width = 9 - head[4].bit_length() if len(head) == 12 else 9
        bits = 7 * width
        size = int.from_bytes(head[4 : 4 + width]) & (1 << bits) - 1
        if head[:4] != name or width > 8 or size == (1 << bits) - 1:
            return None
        at += 4 + width + size
    return at
