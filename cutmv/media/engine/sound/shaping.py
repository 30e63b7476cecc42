"""Makes stereo of two tracks, and fades sound."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from operator import mul

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame


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
