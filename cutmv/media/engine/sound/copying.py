"""Copies the sound of a clip packet by packet, where that is exact.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from cutmv.media.engine.sound.decoding import PREROLL_S, seek
from cutmv.media.engine.sound.encoding import AAC_SAMPLES
from cutmv.media.engine.source.file import tick_of
from cutmv.media.engine.writer import Heard

#: Packets of AAC before the first that is heard: a decoder needs them to be exact there.
PREROLL = 2
#: Seconds that packets may be beside their places when these are counted: clocks are coarse.
BESIDE_S = Fraction(1, 1000)


def copied(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> Iterator[Heard] | None:
    """Return the packets of the sound from `start_s` to `end_s`, none where copying is not exact.

    It is exact for AAC whose packets follow each other without a hole over the whole clip, which
    lies in two of them at least. The first packets are not heard, and of the last only a part may
    be. They are read twice, since those of hours are too many to be held.
    """
    rate = stream.rate
    if stream.codec_context.name != "aac" or not rate or stream.codec_context.profile != "LC":
        return None
    times, headers = array("q"), set[bytes]()
    for packet in _packets(container, stream, start_s, end_s):
        if packet.pts is None:
            return None
        times.append(packet.pts)
        headers.add(_adts(bytes(packet)))
    first_s = _first_s(times, tick_of(stream), rate)
    if len(headers) > 1 or first_s is None:
        return None
    first, end = round((first_s - start_s) * rate), round((end_s - start_s) * rate)
    if first > 0 or first + len(times) * AAC_SAMPLES < end:
        return None
    if -first % AAC_SAMPLES + end <= AAC_SAMPLES:
        return None  # an edit list with a part of one packet is read as one with none
    return _heard(_packets(container, stream, start_s, end_s), first, end)


def _packets(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> Iterator[av.Packet[AudioStream]]:
    tick = tick_of(stream)
    begin_s = start_s - PREROLL_S - Fraction(PREROLL * AAC_SAMPLES, stream.rate)
    begin, end = begin_s / tick, end_s / tick
    seek(container, stream, begin_s, end_s)
    for packet in container.demux(stream):
        if packet.pts is not None and packet.pts >= end:
            return
        if packet.size and (packet.pts is None or packet.pts >= begin):
            yield packet


def _heard(packets: Iterator[av.Packet[AudioStream]], first: int, end: int) -> Iterator[Heard]:
    """Yield those packets that are heard, and those that a decoder needs for them."""
    for number, packet in enumerate(packets):
        pts = first + number * AAC_SAMPLES
        if -(PREROLL + 1) * AAC_SAMPLES < pts < end:
            yield Heard(bytes(packet), pts, min(AAC_SAMPLES, end - pts))


def _first_s(times: Sequence[int], tick: Fraction, rate: int) -> Fraction | None:
    """Return when the first packet begins (s), by the times of all; none where there is a hole."""
    # In parts of a second that both clocks have: fractions would take as long as the cut.
    parts = tick.denominator * rate
    length, scale = AAC_SAMPLES * tick.denominator, tick.numerator * rate
    offsets = sorted(at * scale - number * length for number, at in enumerate(times))
    if not offsets:
        return None
    zero = Fraction(offsets[(len(offsets) - 1) // 2] + offsets[len(offsets) // 2], 2)
    most = BESIDE_S * parts
    if zero - offsets[0] > most or offsets[-1] - zero > most:
        return None
    return zero / parts


def _adts(data: bytes) -> bytes:
    """Return what a packet's ADTS header says of the sound; nothing where it has none.

    ISO 13818-7, 6.2.1: a sync word, then profile, sampling frequency and channels.
    """
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xF0 != 0xF0:
        return b""
    return bytes((data[2] & 0xFD, data[3] & 0xC0))
