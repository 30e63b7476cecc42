"""Copies the sound of a clip packet by packet, where that is exact.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from cutmv.media.engine.codecs.headers.bits import Malformed
from cutmv.media.engine.sound.decoding import PREROLL_S, seek
from cutmv.media.engine.sound.packets import CODECS, Told, header_of
from cutmv.media.engine.source.file import bounded, tick_of
from cutmv.media.engine.writer import Heard

#: Codecs of which packets are copied into a kind of file, since what plays such files plays them.
PLAYED = {
    "mp4": frozenset({"aac", "mp3", "opus"}),
    "mov": frozenset({"aac", "mp3", "ac3", "eac3"}),
    "ipod": frozenset({"aac", "alac"}),
}
#: And those that it holds, too, and that some players are silent at.
HELD = {"mp4": frozenset({"ac3", "eac3", "alac"})}
#: What is copied beside pictures that are encoded: it plays everywhere.
EVERYWHERE = frozenset({"aac"})
#: Seconds that packets may be beside their places when these are counted: clocks are coarse.
BESIDE_S = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class Copy:
    """The packets of a clip's sound, and the header of a file that has them."""

    packets: Iterator[Heard]
    header: bytes


def codec_of(stream: AudioStream) -> str:
    """Return FFmpeg's name of a sound's codec, whichever decoder it has."""
    return str(stream.codec_context.codec.canonical_name)


def copied(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> Copy | None:
    """Return the packets of the sound from `start_s` to `end_s`, none where copying is not exact.

    It is exact for packets of `CODECS` that follow each other without a hole over the whole clip,
    which lies in two of them at least. The first packets are not heard, and of the last only a part
    may be. They are read twice, since those of hours are too many to be held.
    """
    rate, context, name = stream.rate, stream.codec_context, codec_of(stream)
    codec = CODECS.get(name)
    if codec is None or not rate or (name == "aac" and context.profile != "LC"):
        return None
    header = bytes(context.extradata or b"")
    times, told = array("q"), list[Told]()
    for packet in bounded(_packets(container, stream, start_s, end_s)):
        if packet.pts is None:
            return None
        try:
            told.append(codec.read(bytes(packet), header))
        except Malformed:
            return None
        times.append(packet.pts)
    begins = array("q", accumulate((each.samples for each in told), initial=0))
    first_s = _first_s(times, begins, tick_of(stream), rate)
    if first_s is None or len({each.form for each in told}) > 1:
        return None
    first, end = round((first_s - start_s) * rate), round((end_s - start_s) * rate)
    if first > 0 or first + begins[-1] < end:
        return None
    heard = next(place for place, ends in enumerate(begins[1:]) if ends > -first)
    if first + begins[heard + 1] >= end:
        return None  # an edit list with a part of one packet is read as one with none
    kept = _kept(told, begins, heard, codec.preroll)
    # Chromium hides twice what is hidden of a file's first packet, of any codec but AAC.
    if kept is None and (times[0] > (stream.start_time or 0) or (first and name != "aac")):
        return None
    begin = kept or 0
    hidden = -first - begins[begin]
    packets = _packets(container, stream, start_s, end_s)
    return Copy(_heard(packets, told, begin, -hidden, end), header_of(name, header, hidden))


def _packets(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> Iterator[av.Packet[AudioStream]]:
    tick, codec = tick_of(stream), CODECS[codec_of(stream)]
    begin_s = start_s - PREROLL_S - Fraction(codec.preroll + codec.reservoir, stream.rate)
    begin, end = begin_s / tick, end_s / tick
    seek(container, stream, begin_s, end_s)
    for packet in container.demux(stream):
        if packet.pts is not None and packet.pts >= end:
            return
        if packet.size and (packet.pts is None or packet.pts >= begin):
            yield packet


def _kept(told: Sequence[Told], begins: Sequence[int], heard: int, preroll: int) -> int | None:
    """Return the place of the first packet that a decoder needs for what is `heard` from one on.

    None where more are needed than there are.
    """
    first, held = heard, 0
    # A decoder that lacks bits takes some packets to be right again.
    while begins[heard] - begins[first] < preroll or held < 2 * told[heard].back:
        if first == 0:
            return None
        first -= 1
        held += told[first].held
    return first


def _heard(
    packets: Iterator[av.Packet[AudioStream]],
    told: Sequence[Told],
    begin: int,
    pts: int,
    end: int,
) -> Iterator[Heard]:
    """Yield the packets from one on, which begins at `pts`, to before `end`."""
    for place, (packet, its) in enumerate(zip(packets, told, strict=False)):
        if place >= begin and pts < end:
            yield Heard(bytes(packet), pts, min(its.samples, end - pts))
            pts += its.samples


def _first_s(
    times: Sequence[int], begins: Sequence[int], tick: Fraction, rate: int
) -> Fraction | None:
    """Return when the first packet begins (s), by the times of all; none where there is a hole."""
    # In parts of a second that both clocks have: fractions would take as long as the cut.
    parts = tick.denominator * rate
    length, scale = tick.denominator, tick.numerator * rate
    offsets = sorted(at * scale - begin * length for at, begin in zip(times, begins, strict=False))
    if not offsets:
        return None
    zero = Fraction(offsets[(len(offsets) - 1) // 2] + offsets[len(offsets) // 2], 2)
    most = BESIDE_S * parts
    if zero - offsets[0] > most or offsets[-1] - zero > most:
        return None
    return zero / parts
