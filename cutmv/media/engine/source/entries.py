"""Finds key pictures near some times, by the file's index and without reading what is between."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine.source.file import rewind, tick_of

#: Packets after a place in which a key picture is looked for.
SEARCHED = 600


def entries_near(
    container: InputContainer, stream: VideoStream, times: Sequence[Fraction]
) -> list[Fraction]:
    """Return when the key pictures before `times` are shown, as far as they are found.

    All in seconds on the file's own clock.
    """
    tick = tick_of(stream)
    found: set[Fraction] = set()
    for at in times:
        rewind(container, stream, round(at / tick))
        for count, packet in enumerate(container.demux(stream)):
            if packet.is_keyframe and packet.size and packet.pts is not None:
                found.add(packet.pts * tick)
                break
            if count >= SEARCHED:
                break
    return sorted(found)
