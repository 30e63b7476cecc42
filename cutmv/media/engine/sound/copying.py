"""Copies the sound of a clip packet by packet, where that is exact.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from fractions import Fraction
from statistics import median

from av.audio.stream import AudioStream
from av.container import InputContainer

from cutmv.media.engine.sound.decoding import JITTER_S, PREROLL_S, seek
from cutmv.media.engine.sound.encoding import AAC_SAMPLES
from cutmv.media.engine.source.file import tick_of
from cutmv.media.engine.writer import Heard

#: Packets of AAC before the first that is heard: a decoder needs them to be exact there.
PREROLL = 2


def copied(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> list[Heard] | None:
    """Return the packets of the sound from `start_s` to `end_s`, none where copying is not exact.

    It is exact for AAC whose packets follow each other without a hole over the whole clip. The
    first packets are not heard, and of the last only a part may be.
    """
    rate = stream.rate
    if stream.codec_context.name != "aac" or not rate or stream.codec_context.profile != "LC":
        return None
    tick = tick_of(stream)
    found: list[tuple[Fraction, bytes]] = []
    headers: set[bytes] = set()
    begin = start_s - PREROLL_S - Fraction(PREROLL * AAC_SAMPLES, rate)
    seek(container, stream, begin)
    for packet in container.demux(stream):
        if packet.pts is None:
            if packet.size:
                return None
            continue
        at = packet.pts * tick
        if at >= end_s:
            break
        if at >= begin and packet.size:
            data = bytes(packet)
            found.append((at, data))
            headers.add(_adts(data))
    if len(headers) > 1:
        return None
    return _placed(found, rate, start_s, end_s)


def _adts(data: bytes) -> bytes:
    """Return what a packet's ADTS header says of the sound; nothing where it has none.

    ISO 13818-7, 6.2.1: a sync word, then profile, sampling frequency and channels.
    """
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xF0 != 0xF0:
        return b""
    return bytes((data[2] & 0xFD, data[3] & 0xC0))


def _placed(
    found: list[tuple[Fraction, bytes]], rate: int, start_s: Fraction, end_s: Fraction
) -> list[Heard] | None:
    if not found:
        return None
    length = Fraction(AAC_SAMPLES, rate)
    offsets = [at - number * length for number, (at, _) in enumerate(found)]
    zero = median(offsets)
    if any(abs(offset - zero) > JITTER_S for offset in offsets):
        return None
    first = round((zero - start_s) * rate)
    end = round((end_s - start_s) * rate)
    heard = []
    for number, (_, data) in enumerate(found):
        pts = first + number * AAC_SAMPLES
        if pts > -(PREROLL + 1) * AAC_SAMPLES and pts < end:
            heard.append(Heard(data, pts, min(AAC_SAMPLES, end - pts)))
    whole = heard and heard[0].pts <= 0 and heard[-1].pts + AAC_SAMPLES >= end
    return heard if whole else None
