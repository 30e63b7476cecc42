"""Splits and joins the NAL units of packets, as MP4 and as MPEG-TS have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cutmv.media.engine.codecs.headers.bits import Malformed

#: NAL units of one packet at most; the specifications allow fewer slices.
MAX_UNITS = 4096


def of_lengths(data: bytes, length_size: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet in which each stands after its length (ISO 14496-15)."""
    at = 0
    for _ in range(MAX_UNITS):
        if at >= len(data):
            return
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if at + size > len(data):
            raise Malformed("a NAL unit is longer than its packet")
        if size:
            yield data[at : at + size]
        at += size
    raise Malformed("a packet has too many NAL units")


def of_start_codes(data: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a packet in which each stands after a start code (Annex B)."""
    start = data.find(b"\0\0\1")
    for _ in range(MAX_UNITS):
        if start < 0:
            return
        end = data.find(b"\0\0\1", start + 3)
        unit = data[start + 3 : end if end >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        start = end
    raise Malformed("a packet has too many NAL units")


def with_lengths(units: Iterable[bytes], length_size: int = 4) -> bytes:
    """Join NAL units as MP4 has them."""
    return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)
