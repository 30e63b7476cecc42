"""Finds which packets of a transport stream lack something.

libavformat's demuxer sees where a counter jumps, but tells it of another packet where a parser
finds the end of a picture in the bytes of the next: what has ended gets the flags of those
(libavformat/demux.c, parse_packet). And counters begin anew, though nothing is lost, where another
recording begins, or a segment of a broadcast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer

    from cutmv.media.engine.source.reader import Reader

#: Bytes of a packet of a transport stream, and how it begins (ISO 13818-1, 2.4.3).
PACKET, SYNC = 188, 0x47
#: Bytes read at once, and at most of a file around one packet of a picture.
LOOKED, MOST = 16 * 1024, 4 * 2**20
#: Bytes before each: none, a camera's time (M2TS), or as many as a broadcast's have after each.
LEADS = (0, 4, 16)
#: Packets that are looked at for how many that are.
SEEN = 5
#: Packets of a picture that are looked at from one that is told to lack something: it, or the next.
NEIGHBOURS = 2


class Damage:
    """Says of a container's packets, in the order in which they are read, which lack something."""

    def __init__(self, container: InputContainer) -> None:
        self._container = container
        #: Where packets begin that lack something, and where looks have begun.
        self._places: set[int] = set()
        self._looked: set[int] = set()

    def mark(self, packet: Any) -> None:
        """Have a packet be corrupt where it is what lacks something. Reads its bytes again."""
        if packet.pos is None or packet.pos < 0:
            return
        if packet.is_corrupt and packet.pos not in self._looked:
            self._looked.add(packet.pos)
            self._places |= self._around(packet)
        packet.is_corrupt = packet.pos in self._places

    def _around(self, packet: Any) -> set[int]:
        """Return where those of a packet and its neighbour begin that lack something."""
        file: Any = self._container.file
        source: Reader = file.file
        at = source.tell()
        source.seek(packet.pos)
        try:
            return {packet.pos + place for place in lacking(_packets(source))}
        finally:
            source.seek(at)


def lacking(packets: Iterable[tuple[int, bytes]]) -> set[int]:
    """Return where packets of the first stream begin that lack something: of the first two of it.

    `packets` are those of a transport stream, with their places. Where it can't be seen it is the
    first. Nothing is lost where a counter begins anew at a payload's start, after tables of the
    programs (RFC 8216, 3.2) and after what fills the last packet before (ISO 13818-1, 2.4.3.2 and
    2.4.4.4).
    """
    found: set[int] = set()
    begun = own = counter = current = -1
    filled = tables = anew = False
    for place, data in packets:
        stream, begins = (data[1] & 0x1F) << 8 | data[2], bool(data[1] & 0x40)
        own = stream if own < 0 else own
        tables = tables or stream == 0
        if stream != own or not data[3] & 0x10:
            continue
        if counter >= 0 and data[3] & 0xF != (counter + 1) % 16 and not _begins_anew(data):
            if begins and tables and filled:
                anew = True
            else:
                found.add(current)
        if begins:
            begun, current = begun + 1, place
            if begun == NEIGHBOURS:
                break
        if data[1] & 0x80:  # who received it says that it is wrong (ISO 13818-1, 2.4.3.3)
            found.add(current)
        counter, filled, tables = data[3] & 0xF, bool(data[3] & 0x20), False
    found.discard(-1)
    return found if found or anew else {0}


def _begins_anew(packet: bytes) -> bool:
    """Whether a packet says that its counter does (ISO 13818-1, 2.4.3.5)."""
    return bool(packet[3] & 0x20 and packet[4] and packet[5] & 0x80)


def _packets(source: Reader) -> Iterator[tuple[int, bytes]]:
    """Yield the packets of a transport stream from one on, with their distances from it.

    They end where others would have to be looked for.
    """
    data = source.read(LOOKED)
    lead = next((lead for lead in LEADS if _lead(data, lead)), None)
    if lead is None:
        return
    first = 0  # the byte of the file that is held
    for at in count(lead, lead + PACKET):
        while at + PACKET > first + len(data):
            more = source.read(LOOKED)
            if not more or at > MOST:
                return
            data, first = (data + more)[at - first :], at
        packet = data[at - first : at - first + PACKET]
        if packet[0] != SYNC:
            return
        yield at - lead, packet


def _lead(data: bytes, lead: int) -> bool:
    """Whether so many bytes come before each of some packets, as libavformat takes them."""
    begins = data[lead : SEEN * (lead + PACKET) : lead + PACKET]
    return bool(begins) and begins == bytes([SYNC]) * len(begins)
