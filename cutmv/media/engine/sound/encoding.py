"""Encodes the sound of a clip as AAC.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags

from cutmv.media.engine.sound.layouts import fitting
from cutmv.media.engine.writer import Heard

#: Samples of an AAC packet, as MP4 and MPEG-TS have it.
AAC_SAMPLES = 1024
#: Bits a second of encoded sound, for each channel.
BIT_RATE = 96_000
#: Sample rates and channels that AAC can have.
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")


def layout_and_rate(stream: AudioStream) -> tuple[str, int]:
    """Return the layout and the rate in which the sound can be encoded; its own where possible."""
    context = stream.codec_context
    layout, rate = context.layout.name, stream.rate
    return (
        fitting(layout, AAC_LAYOUTS),
        next((each for each in AAC_RATES if each <= rate), AAC_RATES[-1]),
    )


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
