"""Reads a remote object by blocks, and fetches each once: from the storage, then from the cache."""

import secrets
import threading

from cutmv.media.remote.cache import BLOCK_BYTES, SEGMENT_BLOCKS, Cache, Parts
from cutmv.media.remote.object import RemoteObject

#: What is fetched ahead of who reads on and on, as a part of what he has read: the most that is
#: fetched in vain.
AHEAD = 6


class Blocks:
    """A remote object's bytes. Threads may share it."""

    def __init__(self, remote: RemoteObject, cache: Cache, ending: threading.Event) -> None:
        self._remote, self._cache, self._ending = remote, cache, ending
        self._opening = threading.Lock()
        self._found: Parts | None = None
        #: Stands for an identity that the storage does not tell: what is kept by it is not found
        #: again.
        self._nobodys = secrets.token_urlsafe(16)

    @property
    def size(self) -> int:
        """Its bytes. Raises NotGiven."""
        return self._remote.size

    def read(
        self, first: int, past: int, *, least: int, run: int, until: int | None = None
    ) -> bytes:
        """Its bytes from `first` on: `least` at least, and what is there up to before `past`.

        `run` bytes before them were read by the same reader, who may go on to before `until`.
        Raises NotGiven.
        """
        until, past = self.size if until is None else until, min(past, self.size)
        needed = min(first + least, past)
        fetched: dict[int, bytes] = {}
        pieces: list[bytes] = []
        at = first
        while at < past:
            block, offset = divmod(at, BLOCK_BYTES)
            data = fetched.pop(block, None) or self._parts.get(block, self._length(block))
            if data is not None:
                pieces.append(data[offset : offset + past - at])
                at += len(pieces[-1])
            elif at < needed:
                ahead = min(until, at + (at - first + run) // AHEAD)
                fetched |= self._fetch(block, max(needed, ahead))
            else:
                break
        return b"".join(pieces)

    def close(self) -> None:
        """Delete what nobody would find again."""
        self._cache.delete(self._nobodys)

    @property
    def _parts(self) -> Parts:
        with self._opening:
            if self._found is None:
                self._found = self._cache.parts_of(self._remote.identity or self._nobodys)
            return self._found

    def _fetch(self, first: int, past: int) -> dict[int, bytes]:
        """Fetch the missing blocks from the `first` up to byte `past`, within one segment.

        Returns those that came; none where another has fetched the first meanwhile.
        """
        segment, place = divmod(first, SEGMENT_BLOCKS)
        end = min(-(-min(past, self.size) // BLOCK_BYTES), (segment + 1) * SEGMENT_BLOCKS)
        came: dict[int, bytes] = {}
        with self._parts.fetching(segment, self._ending) as kept:
            if kept.has(place):
                if self._parts.get(first, self._length(first)) is not None:
                    return {}
                kept.forget(place)
            last = next(
                (each for each in range(first, end) if kept.has(each % SEGMENT_BLOCKS)), end
            )
            held = bytearray()
            block = first
            for chunk in self._remote.read(first * BLOCK_BYTES, min(last * BLOCK_BYTES, self.size)):
                held += chunk
                while block < last and len(held) >= (length := self._length(block)):
                    came[block] = bytes(held[:length])
                    del held[:length]
                    kept.put(block % SEGMENT_BLOCKS, came[block])
                    block += 1
        return came

    def _length(self, block: int) -> int:
        return min(BLOCK_BYTES, self.size - block * BLOCK_BYTES)
