"""Encodes the sound of a clip.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Literal

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags

from cutmv.media.engine.sound.forms import Form
from cutmv.media.engine.sound.packets import AAC_SAMPLES
from cutmv.media.engine.writer import Heard

#: What a packet carries where a decoder shall drop a part of its samples.
_DROPPED: Literal["skip_samples"] = "skip_samples"


def encoder(form: Form, layout: str, rate: int) -> AudioCodecContext:
    """Return an open encoder of sound in a form, of a layout and a rate that the form has."""
    context: Any = av.CodecContext.create(form.codec, "w")
    context.layout, context.sample_rate, context.format = layout, rate, form.sample
    if form.bit_rate:
        context.bit_rate = form.bit_rate * av.AudioLayout(layout).nb_channels
    context.time_base = Fraction(1, rate)
    context.flags |= Flags.global_header
    context.open()
    return context  # type: ignore[no-any-return]


def encoded(context: AudioCodecContext, frames: Iterator[AudioFrame], end: int) -> Iterator[Heard]:
    """Encode the sound, `end` samples of it."""
    fifo, at = AudioFifo(), 0
    for frame in frames:
        frame.pts, frame.time_base = None, Fraction(1, frame.sample_rate)
        fifo.write(frame)
        for each in fifo.read_many(context.frame_size or AAC_SAMPLES):
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
            # A packet tells what is dropped of its end, or of its start, as the first does.
            ends = packet.pts >= 0 and packet.has_sidedata(_DROPPED)
            dropped = packet.get_sidedata(_DROPPED) if ends else None
            length = min(packet.duration or AAC_SAMPLES, end - packet.pts)
            yield Heard(bytes(packet), packet.pts, length, dropped)
