"""Finds which packets of a transport stream lack something.

libavformat's demuxer sees where a counter jumps, but tells it of another packet where a parser
finds the end of a picture in the bytes of the next: what has ended gets the flags of those
(libavformat/demux.c, parse_packet). It gives a large picture in pieces, of which only the first may
tell. And counters begin anew, though nothing is lost, where another recording begins, or a segment
of a broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer

    from cutmv.media.engine.source.reader import Reader

#: Bytes of a packet of a transport stream, and how it begins (ISO 13818-1, 2.4.3).
PACKET, SYNC = 188, 0x47
#: Bytes before each: none, a camera's time (M2TS), or as many as a broadcast's have after each.
LEADS = (0, 4, 16)
#: Packets that are looked at for how many that are.
SEEN = 5
#: Bytes of a file that are looked at around a packet at first, and at most.
LOOKED, MOST = 16 * 1024, 16 * 2**20
#: Bytes of the largest picture that the demuxer gives in one piece (libavformat/mpegts.c).
PIECE = 200 * 1024


def marked(container: InputContainer, *streams: Any) -> Iterator[Any]:
    """Yield a container's packets, of which those are corrupt that lack something themselves.

    Reads the bytes of some again. Raises as the container does.
    """
    packets = container.demux(*streams)
    if container.format.name != "mpegts":
        yield from packets
        return
    damage = _Damage(container)
    for packet in packets:
        if packet.pos is not None and packet.pos >= 0:
            packet.is_corrupt = damage.is_in(packet)
        yield packet


class _Damage:
    """Where packets of a container lack something, which come in the file's order."""

    def __init__(self, container: InputContainer) -> None:
        file: Any = container.file
        self._source: Reader = file.file
        self._places: set[int] = set()
        self._latest = -1

    def is_in(self, packet: Any) -> bool:
        """Whether a packet lacks something."""
        told, at = packet.is_corrupt, packet.pos
        if at != self._latest and (told or packet.size > PIECE):
            self._latest = at
            # What is told may be of the next; where nothing is seen it is believed.
            seen = self._look(at, packet.size, 2 if told else 1)
            found = seen.lacking or ({0} if told and not seen.anew else set())
            self._places.update(at + each for each in found)
        return at in self._places

    def _look(self, at: int, size: int, pictures: int) -> Seen:
        was, looked = self._source.tell(), LOOKED + size * 5 // 4
        try:
            while True:
                self._source.seek(at)
                data = self._source.read(looked)
                seen = look(data, pictures)
                if seen.ended or len(data) < looked or looked > MOST:
                    return seen
                looked *= 2
        finally:
            self._source.seek(was)


@dataclass(frozen=True, slots=True)
class Seen:
    """Where, in some bytes, pictures begin that lack something, and whether a counter begins anew
    between two that lack nothing. `ended` says that all were seen that were looked for.
    """

    lacking: set[int]
    anew: bool
    ended: bool


def look(data: bytes, pictures: int) -> Seen:
    """Look at the first pictures, or other payloads, of the first stream in some packets.

    Nothing is lost where a counter begins anew at a payload's start, after tables of the programs
    (RFC 8216, 3.2) and after what fills the last packet before (ISO 13818-1, 2.4.3.2 and 2.4.4.4).
    """
    lead = next((lead for lead in LEADS if _begins(data, lead)), None)
    if lead is None:
        return Seen(set(), anew=False, ended=True)
    stride, own = PACKET + lead, (data[lead + 1] & 0x1F, data[lead + 2])
    heads = (data[lead + byte :: stride] for byte in range(4))
    found: set[int] = set()
    begun, counter, current = 0, -1, 0
    filled = tables = anew = False
    for at, sync, high, low, flags in zip(range(lead, len(data), stride), *heads, strict=False):
        if sync != SYNC:  # others would have to be looked for
            return Seen(found, anew, ended=True)
        if (high & 0x1F, low) != own:
            tables = tables or not (high & 0x1F or low)
            continue
        if not flags & 0x10:
            continue
        jumps = counter >= 0 and flags & 0xF != (counter + 1) % 16 and not _says_anew(data, at)
        if jumps and high & 0x40 and tables and filled:
            anew = True
        elif jumps:
            found.add(current)
        if high & 0x40:
            begun, current = begun + 1, at - lead
            if begun > pictures:
                return Seen(found, anew, ended=True)
        if high & 0x80:  # who received it says that it is wrong (ISO 13818-1, 2.4.3.3)
            found.add(current)
        counter, filled, tables = flags & 0xF, bool(flags & 0x20), False
    return Seen(found, anew, ended=False)


def _begins(data: bytes, lead: int) -> bool:
    """Whether packets of a transport stream begin in some bytes, so many after each place."""
    begins = data[lead : SEEN * (lead + PACKET) : lead + PACKET]
    return len(data) >= lead + PACKET and begins == bytes([SYNC]) * len(begins)


def _says_anew(data: bytes, at: int) -> bool:
    """Whether a packet says that its counter begins anew (ISO 13818-1, 2.4.3.5)."""
    length, told = data[at + 4 : at + 6].ljust(2, b"\0")
    return bool(data[at + 3] & 0x20 and length and told & 0x80)
