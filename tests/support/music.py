"""Music videos of which all is known: when its pictures change, and when its beats are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Span = tuple[float, float]

#: Samples a second.
RATE = 44_100
#: Pixels of a picture.
SIZE = (160, 90)


def clicks(
    bpm: float, seconds: float, *, meter: int = 4, first: float = 0.0, accents: bool = True
) -> Samples:
    """Clicks on each beat, with a low tone on the first of each bar, above a little noise."""
    sound = np.random.default_rng(1).normal(0, 0.01, round(seconds * RATE))
    at = np.arange(round(0.08 * RATE)) / RATE
    click = 0.3 * np.exp(-50 * at) * np.sin(2 * np.pi * 1000 * at)
    low = 0.6 * np.exp(-30 * at) * np.sin(2 * np.pi * 70 * at)
    for number, beat in enumerate(np.arange(first, seconds - 0.1, 60 / bpm)):
        start = round(beat * RATE)
        hit = click + low if accents and number % meter == 0 else click
        sound[start : start + len(hit)] += hit
    return sound.astype(np.float32)


def speech(seconds: float) -> Samples:
    """What is like speech: syllables of uneven length, with pauses."""
    dice = np.random.default_rng(3)
    sound, at = dice.normal(0, 0.001, round(seconds * RATE)), 0.2
    while at < seconds - 0.5:
        length = dice.uniform(0.08, 0.3)
        t, pitch = np.arange(round(length * RATE)) / RATE, dice.uniform(100, 180)
        voice = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 12))
        start = round(at * RATE)
        sound[start : start + len(t)] += voice * np.hanning(len(t)) * dice.uniform(0.05, 0.2)
        at += length + dice.exponential(0.08) + (dice.uniform(0.3, 0.9) * (dice.random() < 0.15))
    return sound.astype(np.float32)


@dataclass(frozen=True)
class Film:
    """What pictures to make: `rate` a second, new scenes from `cuts` on (numbers of pictures).

    In `black` (s) they are black; those of the numbers in `dropped` are left out.
    """

    seconds: float
    rate: Fraction = Fraction(25)
    cuts: Sequence[int] = ()
    black: Sequence[Span] = ()
    dropped: frozenset[int] = frozenset()


def make_film(
    path: Path,
    film: Film,
    sound: Samples | None = None,
    silent: Sequence[Span] = (),
    missing: Sequence[Span] = (),
) -> Path:
    """Write a film with its sound, which is silent in some spans (s) and has no packets in others.

    What is missing is missing in whole seconds.
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=film.rate)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"preset": "ultrafast", "g": "50"}
        video.codec_context.time_base = 1 / film.rate
        audio = None
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(round(film.seconds * film.rate)):
            if number in film.dropped:
                continue
            frame = av.VideoFrame.from_ndarray(_picture(film, number), format="rgb24")
            frame.pts, frame.time_base = number, 1 / film.rate
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            heard = sound.copy()
            for start, end in silent:
                heard[round(start * RATE) : round(end * RATE)] = 0
            for start in range(0, len(heard), RATE):
                if any(a <= start / RATE < b for a, b in missing):
                    continue
                piece = av.AudioFrame.from_ndarray(
                    heard[None, start : start + RATE], format="fltp", layout="mono"
                )
                piece.sample_rate, piece.pts = RATE, start
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def _picture(film: Film, number: int) -> NDArray[np.uint8]:
    """A coarse pattern of the scene's own colours, which moves a little."""
    width, height = SIZE
    at = float(number / film.rate)
    if any(start <= at + 1e-6 < end for start, end in film.black):
        return np.zeros((height, width, 3), np.uint8)
    scene = sum(number >= cut for cut in film.cuts)
    coarse = np.random.default_rng(scene).integers(40, 255, (6, 8, 3), dtype=np.uint8)
    fine = coarse.repeat(15, axis=0).repeat(20, axis=1)
    return np.roll(fine, number // 4, axis=1)
