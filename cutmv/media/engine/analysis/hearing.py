"""Listens to the sound piece by piece: loudness, silence, and onsets, in which beats are found."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from cutmv.media.engine.analysis.beats import find_beats
from cutmv.media.engine.analysis.onsets import RATE, Onsets
from cutmv.media.engine.analysis.spans import Spans

#: Samples of a measurement of loudness: 20 ms.
LEVEL_SAMPLES = RATE // 50
#: Sound that is not louder, on the root mean square of full scale 1, is silence: -60 dB.
SILENCE = 10 ** (-60 / 20)
#: Seconds of the shortest silence that is told of: between two slow beats there is none.
SHORTEST_SILENCE_S = 1.0
#: Seconds for which one figure of loudness stands.
STRIDE_S = 0.5
#: Decibels below full scale that stand for silence.
LOWEST_DB = -96.0
#: Seconds by which a piece may lie beside its place without a hole being there.
JITTER_S = 0.02

Samples = np.ndarray[Any, np.dtype[np.float32]]


class Hearing:
    """Takes the sound of a track from `start_s` on, seconds on the file's clock."""

    def __init__(self, start_s: Fraction, length_s: float) -> None:
        self._start_s, self._most = start_s, round(length_s * RATE)
        self._resampler: AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._taken = 0
        self._onsets = Onsets()
        self._waiting: Samples = np.zeros((2, 0), np.float32)
        self._levels: list[Samples] = []

    def take(self, frame: AudioFrame, tick: Fraction) -> None:
        """Listen to a piece; holes before it are silent, and what was heard already is skipped."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or form != self._form:
            # Two channels, since what is opposed in them would be silent in one.
            self._resampler = AudioResampler(format="fltp", layout="stereo", rate=RATE)
            self._form = form
        at = None if frame.pts is None else frame.pts * (frame.time_base or tick) - self._start_s
        for piece in self._resampler.resample(frame):
            samples: Samples = piece.to_ndarray().astype(np.float32, copy=False)
            place = self._taken if at is None else round(at * RATE)
            at = None
            if not -RATE <= place <= self._most:
                continue  # a clock that has just wrapped, in a transport stream
            if abs(place - self._taken) > JITTER_S * RATE:
                self._skip_to(place)
                samples = samples[:, max(0, self._taken - place) :]
            self._add(samples)

    def finish(self) -> dict[str, Any]:
        """Return what was heard: loudness (dB below full scale), silence, tempo and beats."""
        self._skip_to(self._most)
        levels = np.concatenate([*self._levels, np.zeros(0, np.float32)])
        silence = self._silence(levels)
        stride = round(STRIDE_S * RATE / LEVEL_SAMPLES)
        whole = levels[: len(levels) // stride * stride].reshape(-1, stride)
        power = np.maximum((whole**2).mean(axis=1), 10 ** (LOWEST_DB / 10))
        found = find_beats(self._onsets.all(), self._onsets.low(), silence)
        return {
            "loudness": [round(float(each)) for each in 10 * np.log10(power)],
            "silence": [[round(a, 3), round(b, 3)] for a, b in silence],
            **found,
        }

    def _silence(self, levels: Samples) -> list[tuple[float, float]]:
        spans, step = Spans(SHORTEST_SILENCE_S), LEVEL_SAMPLES / RATE
        quiet = levels <= SILENCE
        changes = np.flatnonzero(np.diff(quiet)) + 1
        for place in [0, *changes.tolist()] if len(quiet) else []:
            spans.note(place * step, bool(quiet[place]))
        return spans.end(len(levels) * step)

    def _skip_to(self, place: int) -> None:
        while self._taken < min(place, self._most):
            missing = min(place, self._most) - self._taken
            self._add(np.zeros((2, min(missing, RATE)), np.float32))

    def _add(self, samples: Samples) -> None:
        samples = samples[:, : self._most - self._taken]
        self._taken += samples.shape[1]
        self._onsets.add(samples.mean(axis=0))
        heard = np.concatenate([self._waiting, samples], axis=1)
        whole = heard.shape[1] // LEVEL_SAMPLES * LEVEL_SAMPLES
        squares = (heard[:, :whole] ** 2).reshape(2, -1, LEVEL_SAMPLES)
        self._levels.append(np.sqrt(squares.mean(axis=(0, 2))))
        self._waiting = heard[:, whole:]
