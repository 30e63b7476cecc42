"""Brings a clip's sound to a loudness: measured first, then made louder or quieter (EBU R 128).

Loudness is in LUFS, peaks are true peaks in dBTP (ITU-R BS.1770), gains in dB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log10

from av.audio.frame import AudioFrame

from cutmv.media.engine.sound.decoding import silence
from cutmv.media.engine.sound.filtering import Filter, filtered, limiter

#: The highest true peak. R 128 has -1 dBTP, and what is encoded with losses has higher ones after.
CEILING_DB = -1.5
#: What a measurement is where nothing is loud enough to be measured, and its step in seconds.
UNHEARD_LUFS, STEP_S = -70.0, 0.1
#: How near to the wanted loudness and to the ceiling is near enough, in LU and dB.
NEAR_LU, NEAR_DB = 0.2, 0.05
#: How often the gain before a limiter is corrected, and how much in all: more would be another
#: sound.
TRIES, MOST_DB = 5, 12.0

Sound = Callable[[], Iterator[AudioFrame]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sound is: its integrated loudness, and its true peak."""

    lufs: float
    peak_db: float


@dataclass(frozen=True, slots=True)
class Level:
    """How a sound is brought to a loudness: a gain, and the peak of a limiter after it, if any.

    `lufs` is the loudness that it then has.
    """

    gain_db: float
    limit_db: float | None
    lufs: float

    def filters(self) -> list[Filter]:
        """Return the filters that do it."""
        louder = ("volume", f"volume={self.gain_db:.4f}dB:precision=double")
        return [louder] if self.limit_db is None else [louder, limiter(_ratio(self.limit_db))]


def level_for(sound: Sound, wanted: float) -> Level | None:
    """Return how a sound gets the wanted loudness, none where it has none that can be measured.

    `sound` gives it from its beginning. A gain alone does where the peaks allow; else a limiter
    follows, and both are corrected by what they make.
    """
    found = measured(sound())
    if found is None:
        return None
    level = Level(wanted - found.lufs, None, wanted)
    if found.peak_db + level.gain_db <= CEILING_DB:
        return level
    gain_db, limit_db = level.gain_db, CEILING_DB
    most_db = gain_db + MOST_DB
    for _ in range(TRIES):
        level = Level(gain_db, limit_db, wanted)
        made = measured(filtered(sound(), level.filters()))
        if made is None:
            break
        level = Level(gain_db, limit_db, made.lufs)
        over = made.peak_db - CEILING_DB
        if abs(wanted - made.lufs) <= NEAR_LU and over <= NEAR_DB:
            break
        gain_db = min(most_db, gain_db + wanted - made.lufs)
        limit_db -= max(0.0, over)
    return level


def measured(frames: Iterator[AudioFrame]) -> Measured | None:
    """Measure a sound; none where it is silent or too short."""
    lufs, peak = UNHEARD_LUFS, 0.0
    length = 0

    def counted() -> Iterator[AudioFrame]:
        nonlocal length
        like = None
        for like in frames:
            length += like.samples
            yield like
        if like is not None:  # the meter tells of whole steps
            yield from silence(round(STEP_S * like.sample_rate), like.layout.name, like.sample_rate)

    at = 0
    for frame in filtered(counted(), [("ebur128", "peak=true:metadata=1")]):
        at += frame.samples
        told = frame.metadata
        if at <= length:
            lufs = float(told.get("lavfi.r128.I", lufs))
        peak = max(peak, float(told.get("lavfi.r128.true_peak", 0)))
    return None if lufs <= UNHEARD_LUFS or not peak else Measured(lufs, _decibels(peak))


def _ratio(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _decibels(ratio: float) -> float:
    return 20 * log10(ratio)
