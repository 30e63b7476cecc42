"""Finds where recordings were joined into one transport stream, and makes one clock of theirs.

`cat` of two recordings, a broadcast's splices and a recorder's breaks leave a stream whose clock
starts again, steps back or jumps ahead. A player goes on at once, and so do we: each recording
follows the one before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cutmv.media.engine.source.damage import PACKET, SYNC

if TYPE_CHECKING:
    from av.container import InputContainer

    from cutmv.media.engine.source.reader import Reader

#: Seconds that a stream's clock must jump ahead for that to be a join, and no hole.
AHEAD_S = 10
#: Bytes of a file that is looked at whole, and of each look at a larger one, and how many looks.
SMALL, LOOKED, LOOKS = 4 * 2**20, 96 * 1024, 24
#: Times the usual by which the clock runs between two looks where it may have jumped.
UNUSUAL = 8
#: Ticks of a second of its clock, and of the clock's whole (33 bits).
HERTZ, WHOLE = 90_000, 2**33


@dataclass(frozen=True, slots=True)
class Joins:
    """Where a file's recordings begin: `places` are bytes, by stream; the first begins at 0.

    `offsets` (s) are added to the times of each recording, one more than there are places. `ends`
    is the time (s) at which the last one ends.
    """

    places: dict[int, list[int]]
    offsets: list[Fraction]
    ends: Fraction


def may_be_joined(source: Reader) -> bool:
    """Whether the clock of a transport stream may jump, by looks at some places of it."""
    size = source.seek(0, 2)
    if size <= SMALL:
        return True
    clocks = []
    for look in range(LOOKS):
        source.seek(look * (size - LOOKED) // (LOOKS - 1))
        clocks.append(_clock(source.read(LOOKED)))
    source.seek(0)
    known = [each for each in clocks if each is not None]
    steps = [(b - a) % WHOLE for a, b in pairwise(known)]
    usual = sorted(steps)[len(steps) // 2] if steps else 0
    return any(step > UNUSUAL * usual + AHEAD_S * HERTZ for step in steps)


def _clock(data: bytes) -> int | None:
    """Return the first clock reference in some packets (ISO 13818-1, 2.4.3.4), in ticks."""
    for stride in (PACKET, PACKET + 4):
        for start in range(stride):
            if data[start : start + 4 * stride + 1 : stride] != bytes([SYNC]) * 5:
                continue
            for at in range(start, len(data) - PACKET, stride):
                adapted, length, flags = data[at + 3] & 0x20, data[at + 4], data[at + 5]
                if adapted and length > 6 and flags & 0x10:
                    return int.from_bytes(data[at + 6 : at + 10]) << 1 | data[at + 10] >> 7
            return None
    return None


@dataclass
class _Stream:
    tick: Fraction
    #: When its latest packet is decoded, and after how long the next may be expected.
    latest: int | None = None
    step: int = 0
    #: When the latest picture of its last recording is shown.
    shown: int = 0
    places: list[int] = field(default_factory=list)


def joins_of(container: InputContainer) -> Joins | None:
    """Return the joins of a transport stream, none where it has none. Reads all of it."""
    streams = {s.index: _Stream(s.time_base or Fraction(1, HERTZ)) for s in container.streams}
    leading = next(iter(container.streams.video), None)
    if leading is None:
        return None
    offsets = [Fraction(0)]
    packet: Any
    for packet in container.demux():
        at = packet.pts if packet.dts is None else packet.dts
        if not packet.size or at is None:
            continue
        stream = streams[packet.stream_index]
        if stream.latest is not None:
            by = at - stream.latest
            if by < 0 or by * stream.tick > AHEAD_S:
                stream.shown = at
                stream.places.append(packet.pos or 0)
                if packet.stream_index == leading.index:
                    offsets.append(offsets[-1] + (stream.step - by) * stream.tick)
            elif by:
                stream.step = by
        stream.latest = at
        stream.shown = max(stream.shown, at if packet.pts is None else packet.pts)
    found = streams[leading.index]
    if not found.places:
        return None
    places = {
        index: each.places if len(each.places) == len(found.places) else found.places
        for index, each in streams.items()
    }
    return Joins(places, offsets, (found.shown + found.step) * found.tick + offsets[-1])


class Joined:
    """A container of joined recordings, on one clock. It is read from its start."""

    def __init__(self, container: InputContainer, joins: Joins) -> None:
        self._container, self._joins = container, joins

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    @property
    def duration(self) -> int:
        """Its length in microseconds."""
        start = self._container.start_time or 0
        return round(self._joins.ends * 1_000_000) - start

    def seek(self, offset: int, **_: object) -> None:
        """Go to its start, wherever else was asked for."""
        del offset
        self._container.seek(0, unsupported_byte_offset=True)

    def demux(self, *streams: Any) -> Iterator[Any]:
        """Yield packets, with times on one clock."""
        latest: dict[int, int] = {}
        packet: Any
        for packet in self._container.demux(*streams):
            index = packet.stream_index
            if packet.size:
                if packet.pos is not None and packet.pos >= 0:
                    latest[index] = bisect_right(self._joins.places[index], packet.pos)
                by = self._joins.offsets[latest.get(index, 0)] / packet.time_base
                packet.pts = None if packet.pts is None else packet.pts + round(by)
                packet.dts = None if packet.dts is None else packet.dts + round(by)
            yield packet
