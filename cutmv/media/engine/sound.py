"""The sound of a clip: copied packet by packet where that is exact, else decoded and encoded.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from statistics import median

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import InputContainer

from cutmv.media.engine.source import SourceError, rewind, tick_of

#: Packets of AAC before the first that is heard: a decoder needs them to be exact there.
PREROLL = 2
#: Samples of an AAC packet, as MP4 and MPEG-TS have it.
AAC_SAMPLES = 1024
#: Seconds that a packet's time may differ from those before it: clocks are coarse.
JITTER_S = Fraction(1, 500)
#: Seconds before a clip at which the reading of its sound begins.
PREROLL_S = Fraction(1, 5)
#: Bits a second of encoded sound, for each channel.
BIT_RATE = 96_000
#: Sample rates and channels that AAC can have.
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet of a clip's sound. `pts` and `duration` are in samples; `pts` may be negative."""

    data: bytes
    pts: int
    duration: int


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
    _seek(container, stream, begin)
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


def layout_and_rate(stream: AudioStream) -> tuple[str, int]:
    """Return the layout and the rate in which the sound can be encoded; its own where possible."""
    context = stream.codec_context
    layout, rate = context.layout.name, stream.rate
    return (
        layout if layout in AAC_LAYOUTS else "stereo",
        next((each for each in AAC_RATES if each <= rate), AAC_RATES[-1]),
    )


def decoded(
    container: InputContainer,
    stream: AudioStream,
    start_s: Fraction,
    end_s: Fraction,
    form: tuple[str, int],
) -> Iterator[AudioFrame]:
    """Yield the sound from `start_s` to before `end_s`, exact to the sample; holes are silent.

    It has the layout and the rate of `form`.
    """
    layout, rate = form
    end, given = round((end_s - start_s) * rate), 0
    frames = _frames(container, stream, start_s, end_s)
    for place, frame in _resampled(frames, tick_of(stream), start_s, layout, rate):
        if place > given:
            yield from _silence(min(place, end) - given, layout, rate)
            given = min(place, end)
        skipped = given - place
        taken = min(frame.samples - skipped, end - given)
        if taken > 0:
            given += taken
            yield _part(frame, skipped, taken)
        if given >= end:
            return
    yield from _silence(end - given, layout, rate)


def _resampled(
    frames: Iterator[AudioFrame], tick: Fraction, start_s: Fraction, layout: str, rate: int
) -> Iterator[tuple[int, AudioFrame]]:
    """Yield where in the clip each piece of the sound begins, in samples, and the piece."""
    resampler, form = None, None
    expected: int | None = None
    for frame in frames:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or shape != form:
            resampler, form = AudioResampler(format="fltp", layout=layout, rate=rate), shape
        at = None if frame.pts is None else frame.pts * (frame.time_base or tick)
        for each in resampler.resample(frame):
            if each.pts is not None and each.time_base is not None:
                at = each.pts * each.time_base
            place = expected if at is None else round((at - start_s) * rate)
            if place is None:
                continue
            if expected is not None and abs(place - expected) <= JITTER_S * rate:
                place = expected
            expected, at = place + each.samples, None
            yield place, each


def _part(frame: AudioFrame, skipped: int, taken: int) -> AudioFrame:
    """Return a part of a piece of sound: so many samples after so many others."""
    frame.pts, frame.time_base = None, Fraction(1, frame.sample_rate)
    if taken == frame.samples:
        return frame
    fifo = AudioFifo()
    fifo.write(frame)
    if skipped:
        fifo.read(skipped)
    part = fifo.read(taken)
    if part is None:
        raise SourceError("A piece of the sound can't be divided.")
    part.pts = None
    return part


def _frames(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> Iterator[AudioFrame]:
    context, tick = stream.codec_context, tick_of(stream)
    _seek(container, stream, start_s - PREROLL_S)
    if context.is_open:
        context.flush_buffers()
    for packet in container.demux(stream):
        over = packet.pts is not None and packet.pts * tick >= end_s
        yield from context.decode(None if over else packet)
        if over:
            return


def stereo(left: Iterator[AudioFrame], right: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """Yield stereo of two channels of the same length."""
    fifos = AudioFifo(), AudioFifo()
    for frame in left:
        fifos[0].write(frame)
        while fifos[1].samples < fifos[0].samples and (other := next(right, None)) is not None:
            fifos[1].write(other)
        count = min(fifo.samples for fifo in fifos)
        pair = [part for fifo in fifos if count and (part := fifo.read(count)) is not None]
        if len(pair) == 2:
            both = AudioFrame(format="fltp", layout="stereo", samples=count)
            both.sample_rate = pair[0].sample_rate
            for plane, channel in zip(both.planes, pair, strict=True):
                plane.update(bytes(channel.planes[0])[: plane.buffer_size])
            yield both


def faded(frames: Iterator[AudioFrame], length: int, count: int) -> Iterator[AudioFrame]:
    """Yield sound of `length` samples that rises from silence in `count` of them, and falls so."""
    at = 0
    for frame in frames:
        begin, at = at, at + frame.samples
        if begin >= count and at <= length - count:
            yield frame
            continue
        gains = [
            min(1.0, (place + 0.5) / count, (length - place - 0.5) / count)
            for place in range(begin, at)
        ]
        part = AudioFrame(format="fltp", layout=frame.layout.name, samples=frame.samples)
        part.sample_rate = frame.sample_rate
        for plane, before in zip(part.planes, frame.planes, strict=True):
            samples = array("f", bytes(before)[: 4 * frame.samples])
            louder = array("f", map(mul, samples, gains)).tobytes()
            plane.update(louder.ljust(plane.buffer_size, b"\0"))
        yield part


def encoder(stream: AudioStream, *, stereo: bool = False) -> AudioCodecContext:
    """Return an encoder of the sound: AAC, in the source's rate and layout where AAC has them.

    With `stereo` the stream is the left channel of two.
    """
    layout, rate = layout_and_rate(stream)
    layout = "stereo" if stereo else layout
    context = av.CodecContext.create("aac", "w")
    context.layout, context.sample_rate, context.format = layout, rate, "fltp"
    context.bit_rate = BIT_RATE * av.AudioLayout(layout).nb_channels
    context.time_base = Fraction(1, rate)
    context.flags |= Flags.global_header
    context.open()
    return context


def encoded(context: AudioCodecContext, frames: Iterator[AudioFrame], end: int) -> Iterator[Heard]:
    """Encode the sound, `end` samples of it."""
    fifo, at = AudioFifo(), 0
    for frame in frames:
        frame.pts, frame.time_base = None, Fraction(1, frame.sample_rate)
        fifo.write(frame)
        for each in fifo.read_many(context.frame_size):
            at = _stamp(each, at)
            yield from _heard(context.encode(each), end)
    last = fifo.read(0, partial=True)
    if last is not None:
        _stamp(last, at)
        yield from _heard(context.encode(last), end)
    yield from _heard(context.encode(None), end)


def _stamp(frame: AudioFrame, at: int) -> int:
    frame.pts, frame.time_base = at, Fraction(1, frame.sample_rate)
    return at + frame.samples


def _heard(packets: list[av.Packet[AudioStream]], end: int) -> Iterator[Heard]:
    for packet in packets:
        if packet.pts is not None and packet.pts < end:
            yield Heard(bytes(packet), packet.pts, min(AAC_SAMPLES, end - packet.pts))


def _silence(count: int, layout: str, rate: int) -> Iterator[AudioFrame]:
    while count > 0:
        frame = AudioFrame(format="fltp", layout=layout, samples=min(count, rate))
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = rate
        count -= frame.samples
        yield frame


def _seek(container: InputContainer, stream: AudioStream, at: Fraction) -> None:
    rewind(container, stream, int(max(at, Fraction(-1)) / tick_of(stream)))
