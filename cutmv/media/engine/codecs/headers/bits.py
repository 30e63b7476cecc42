"""Reads and writes the bits of H.264 and HEVC headers (ITU-T H.264 and H.265, clause 7.2, 9.1).

Everything read is hostile: each read is checked against the end of the data, and each count is
bounded where it is read.
"""

from __future__ import annotations

#: The longest Exp-Golomb code that is read, in zero bits before its first one.
MAX_ZEROS = 32


class Malformed(ValueError):
    """A header that does not follow its specification, or does what we don't read."""


class BitReader:
    """Reads an RBSP, a NAL unit's payload without its emulation prevention bytes."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._size = 8 * len(data)
        #: Bits read so far.
        self.at = 0

    def u(self, count: int) -> int:
        """Read an unsigned number of `count` bits. Raises Malformed past the end."""
        if count < 0 or self.at + count > self._size:
            raise Malformed("the header ends too soon")
        self.at += count
        return (self._bits >> (self._size - self.at)) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Read one bit."""
        return self.u(1) == 1

    def ue(self, most: int = 2**32 - 2) -> int:
        """Read an unsigned Exp-Golomb number, `most` at most. Raises Malformed."""
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > MAX_ZEROS:
                raise Malformed("a number is too long")
        value = (1 << zeros) - 1 + self.u(zeros)
        if value > most:
            raise Malformed(f"a number is {value}, and {most} is the most")
        return value

    def se(self) -> int:
        """Read a signed Exp-Golomb number."""
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -(value // 2)

    def skip(self, count: int) -> None:
        """Read `count` bits, of whatever value."""
        self.u(count)


class BitWriter:
    """Writes an RBSP."""

    def __init__(self) -> None:
        self._bits = 0
        self._count = 0

    def u(self, value: int, count: int) -> None:
        """Write an unsigned number of `count` bits."""
        self._bits = (self._bits << count) | value
        self._count += count

    def ue(self, value: int) -> None:
        """Write an unsigned Exp-Golomb number."""
        length = (value + 1).bit_length()
        self.u(value + 1, 2 * length - 1)

    def copy(self, data: bytes, start: int, end: int) -> None:
        """Write the bits `start` to `end` of `data`."""
        reader = BitReader(data)
        reader.skip(start)
        self.u(reader.u(end - start), end - start)

    def aligned(self) -> bytes:
        """Return the bytes, which must be whole."""
        if self._count % 8:
            raise Malformed("a header is no number of bytes")
        return self._bits.to_bytes(self._count // 8, "big")

    def finished(self) -> bytes:
        """Return the bytes, after `rbsp_trailing_bits`."""
        padding = -(self._count + 1) % 8
        bits, count = ((self._bits << 1) | 1) << padding, self._count + 1 + padding
        return bits.to_bytes(count // 8, "big")


def unescaped(nal: bytes) -> bytes:
    """Return a NAL unit without its emulation prevention bytes (7.4.1)."""
    if b"\0\0\3" not in nal:
        return nal
    parts, start = [], 0
    while (found := nal.find(b"\0\0\3", start)) >= 0:
        parts.append(nal[start : found + 2])
        start = found + 3
    parts.append(nal[start:])
    return b"".join(parts)


def escaped(rbsp: bytes) -> bytes:
    """Return a NAL unit with emulation prevention bytes (7.4.1)."""
    result, zeros = bytearray(), 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            result.append(3)
            zeros = 0
        result.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(result)
