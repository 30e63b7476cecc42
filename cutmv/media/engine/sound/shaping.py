"""Makes stereo of two tracks, and fades sound."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from operator import mul

from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame

from cutmv.media.engine.sound.filtering import FORMAT


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
            both = array("f", bytes(2 * 4 * count))
            both[0::2], both[1::2] = (_samples(channel) for channel in pair)
            yield _like(pair[0], "stereo", both)


def faded(frames: Iterator[AudioFrame], length: int, rise: int, fall: int) -> Iterator[AudioFrame]:
    """Yield sound of `length` samples that rises from silence in so many of them, and falls so."""
    at = 0
    for frame in frames:
        begin, at = at, at + frame.samples
        if begin >= rise and at <= length - fall:
            yield frame
            continue
        channels = frame.layout.nb_channels
        gains = (
            _gain(place, rise) * _gain(length - 1 - place, fall)
            for place in range(begin, at)
            for _ in range(channels)
        )
        yield _like(frame, frame.layout.name, array("f", map(mul, _samples(frame), gains)))


def _gain(place: int, count: int) -> float:
    """Return how loud a sample is that is so many after silence, of a rise of `count`."""
    return min(1.0, (place + 0.5) / count) if count else 1.0


def _samples(frame: AudioFrame) -> array[float]:
    """Return a piece's samples, the channels side by side."""
    samples = array("f")
    samples.frombytes(bytes(frame.planes[0])[: 4 * frame.samples * frame.layout.nb_channels])
    return samples


def _like(frame: AudioFrame, layout: str, samples: array[float]) -> AudioFrame:
    """Return a piece as long as another."""
    made = AudioFrame(format=FORMAT, layout=layout, samples=frame.samples)
    made.sample_rate = frame.sample_rate
    plane = made.planes[0]
    plane.update(samples.tobytes().ljust(plane.buffer_size, b"\0"))
    return made
