"""Decodes the sound of a clip, exact to the sample.

Times in this module are samples of the sound, counted from the clip's start.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine.sound.filtering import FORMAT
from cutmv.media.engine.sound.steadying import steady
from cutmv.media.engine.source.file import SourceError, expect, rewind, tick_of

#: Seconds before a clip at which the reading of its sound begins.
PREROLL_S = Fraction(1, 5)


def decoded(
    container: InputContainer,
    stream: AudioStream,
    start_s: Fraction,
    end_s: Fraction,
    form: tuple[str, int],
) -> Generator[AudioFrame, None, int]:
    """Yield the sound from `start_s` to before `end_s`, exact to the sample; holes are silent.

    It has the layout and the rate of `form`. Returns how many samples are in holes.
    """
    layout, rate = form
    end, given, silent = round((end_s - start_s) * rate), 0, 0
    frames = _frames(container, stream, start_s, end_s)
    pieces = _resampled(frames, tick_of(stream), start_s, layout, rate)
    for place, frame in steady(pieces, rate):
        if place > given:
            yield from silence(min(place, end) - given, layout, rate)
            silent += min(place, end) - given
            given = min(place, end)
        skipped = given - place
        taken = min(frame.samples - skipped, end - given)
        if taken > 0:
            given += taken
            yield _part(frame, skipped, taken)
        if given >= end:
            return silent
    yield from silence(end - given, layout, rate)
    return silent + end - given


def _resampled(
    frames: Iterator[AudioFrame], tick: Fraction, start_s: Fraction, layout: str, rate: int
) -> Iterator[tuple[int | None, AudioFrame]]:
    """Yield each piece of the sound, and where it begins by its clock, if that is told."""
    resampler, form = None, None
    for frame in frames:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or shape != form:
            resampler, form = AudioResampler(format=FORMAT, layout=layout, rate=rate), shape
        at = None if frame.pts is None else frame.pts * (frame.time_base or tick)
        for each in resampler.resample(frame):
            if each.pts is not None and each.time_base is not None:
                at = each.pts * each.time_base
            yield None if at is None else round((at - start_s) * rate), each
            at = None


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
    seek(container, stream, start_s - PREROLL_S, end_s)
    if context.is_open:
        context.flush_buffers()
    for packet in container.demux(stream):
        over = packet.pts is not None and packet.pts * tick >= end_s
        yield from context.decode(None if over else packet)
        if over:
            return


def silence(count: int, layout: str, rate: int) -> Iterator[AudioFrame]:
    """Yield so many samples of silence."""
    while count > 0:
        frame = AudioFrame(format=FORMAT, layout=layout, samples=min(count, rate))
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = rate
        count -= frame.samples
        yield frame


def seek(
    container: InputContainer, stream: AudioStream, start_s: Fraction, end_s: Fraction
) -> None:
    """Have the next packets come from `start_s` on, or a little before; `end_s` ends them."""
    by: VideoStream | AudioStream = stream
    if container.format.name.startswith("matroska") and container.streams.video:
        # Its index has the picture alone: by the sound it would be read from its start. That is
        # right only there, since packets that come before the first picture are passed over else.
        picture = container.streams.video[0]
        if start_s > (picture.start_time or 0) * tick_of(picture):
            by = picture
    start, end = (int(at / tick_of(by)) for at in (start_s, end_s))
    rewind(container, by, start)
    expect(container, by, start, end)
