"""Unpacks compressed bodies piece by piece, so that none takes more memory than a process has."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: Bytes that are unpacked at a time.
PIECE = 1_000_000

#: Bytes of memory that decompression by LZMA may take; kombu's takes a tenth.
LZMA_MEMORY = 100_000_000

#: Bytes given at a time to a Brotli that does not bound what they become: at most some 16 MB.
BROTLI_BITE = 16


class _Zlib:
    """Gives `zlib`'s decompressor the methods of the others."""

    unused_data = b""  # kombu's decoder reads no second stream

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj()

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._unpacker.decompress(self._unpacker.unconsumed_tail + data, most)

    @property
    def eof(self) -> bool:
        return self._unpacker.eof


class _Brotli:
    """Gives Brotli's decompressor the methods of the others; versions before 1.2 have no bounds."""

    unused_data = b""

    def __init__(self) -> None:
        module: Any = sys.modules.get("brotli") or sys.modules["brotlicffi"]
        self._unpacker = module.Decompressor()
        self._left = b""

    def is_bounded(self) -> bool:
        return hasattr(self._unpacker, "can_accept_more_data")

    def decompress(self, data: bytes, most: int) -> bytes:
        if self.is_bounded():
            return bytes(self._unpacker.process(data, output_buffer_limit=most))
        self._left += data
        unpacked = b""
        while self._left and len(unpacked) < most:
            bite, self._left = self._left[:BROTLI_BITE], self._left[BROTLI_BITE:]
            unpacked += self._unpacker.process(bite)
        return unpacked

    @property
    def eof(self) -> bool:
        return bool(self._unpacker.is_finished())


def _zstandard() -> Any:
    module: Any = sys.modules.get("backports.zstd") or sys.modules["compression.zstd"]
    return module.ZstdDecompressor()


#: What unpacks as kombu's decoders do, by kombu's names; kombu has the last two where their
#: packages are installed.
_DECOMPRESSORS: Mapping[str, Callable[[], Any]] = {
    "application/x-gzip": _Zlib,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY),
    "application/x-brotli": _Brotli,
    "application/zstd": _zstandard,
}


def is_known(kind: str) -> bool:
    """Return whether `pieces` can unpack this kind, by kombu's name. Others an app has brought."""
    return kind in _DECOMPRESSORS


def pieces(kind: str, data: bytes, most: int) -> Iterator[bytes]:
    """Yield what a body unpacks to, piece by piece.

    Raises `ValueError`, whose text goes on after "its body", where it can't be unpacked or has more
    than `most` bytes.
    """
    size = 0
    try:
        for piece in _streams(_DECOMPRESSORS[kind], data):
            size += len(piece)
            if size > most:
                break
            yield piece
    except Exception as error:  # each decompressor has a type of its own
        raise ValueError(f"can't be unpacked: {error}") from None
    if size > most:
        raise ValueError(f"unpacks to more than {most:,} bytes")


def _streams(make: Callable[[], Any], data: bytes) -> Iterator[bytes]:
    """Yield the pieces of streams that follow each other."""
    while data:
        unpacker = make()
        piece = unpacker.decompress(data, PIECE)
        yield piece
        while not unpacker.eof:
            piece = unpacker.decompress(b"", PIECE)
            if not piece and not unpacker.eof:
                raise EOFError("it is cut short")
            yield piece
        data = unpacker.unused_data
