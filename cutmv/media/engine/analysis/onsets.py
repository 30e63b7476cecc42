"""Finds how strongly sound sets in at each moment: the rise of its spectrum, on a mel scale."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Samples a second that are listened to.
RATE = 22050
#: Samples of a spectrum, and from one to the next.
WINDOW, HOP = 1024, 256
#: Moments a second.
MOMENTS = RATE / HOP
#: Bands of the mel scale, and the highest frequency (Hz) of those that are low: drums and bass.
BANDS, LOW_HZ = 40, 160.0
#: The lowest and highest frequency (Hz) that is listened to.
LOWEST_HZ, HIGHEST_HZ = 30.0, 10_000.0
#: How far quiet sound is lifted before its rise is taken.
LIFT = 100.0
#: Seconds from the start to the onset whose rise is steepest in the first spectrum, which has
#: silence before the start in it: so the first sound is an onset, too.
FIRST_S = -0.25 * WINDOW / RATE - 0.003
#: Spectra that are made at once.
AT_ONCE = 2048

Array = np.ndarray[Any, np.dtype[np.float32]]


class Onsets:
    """Takes the sound of one channel in pieces of any length."""

    def __init__(self) -> None:
        self._window = np.hanning(WINDOW).astype(np.float32)
        self._bands, centres = _mel_bands()
        self._is_low = centres <= LOW_HZ
        self._waiting: list[Array] = [np.zeros(WINDOW, np.float32)]
        self._count = WINDOW
        self._before: Array | None = None
        self._all: list[Array] = []
        self._low: list[Array] = []

    def add(self, samples: Array) -> None:
        """Take the next samples."""
        self._waiting.append(samples)
        self._count += len(samples)
        if self._count >= AT_ONCE * HOP:
            self._listen()

    def all(self) -> Array:
        """Return the strength of all onsets by moment."""
        self._listen()
        return np.concatenate([*self._all, np.zeros(0, np.float32)])

    def low(self) -> Array:
        """Return the strength of low ones, as of a bass drum."""
        self._listen()
        return np.concatenate([*self._low, np.zeros(0, np.float32)])

    def _listen(self) -> None:
        if self._count < WINDOW:
            return
        heard = np.concatenate(self._waiting)
        count = (len(heard) - WINDOW) // HOP + 1
        pieces = np.lib.stride_tricks.sliding_window_view(heard, WINDOW)[::HOP][:count]
        spectra = np.abs(np.fft.rfft(pieces * self._window, axis=1)).astype(np.float32)
        bands = np.log1p(LIFT * (spectra / (WINDOW / 4)) @ self._bands)
        before = bands[:1] if self._before is None else self._before
        rises = np.maximum(np.diff(bands, axis=0, prepend=before), 0)
        self._before = bands[-1:]
        self._all.append(rises.mean(axis=1).astype(np.float32))
        self._low.append(rises[:, self._is_low].mean(axis=1).astype(np.float32))
        rest = heard[count * HOP :]
        self._waiting, self._count = [rest], len(rest)


def _mel_bands() -> tuple[Array, Array]:
    """Return the weight of each frequency in each band, and the middle (Hz) of each.

    The mel scale is O'Shaughnessy's: 2595 log10(1 + f/700).
    """
    ends = 2595 * np.log10(1 + np.array([LOWEST_HZ, HIGHEST_HZ]) / 700)
    edges = 700 * (10 ** (np.linspace(ends[0], ends[1], BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    left, middle, right = (edges[each : each + BANDS, None] for each in range(3))
    rising, falling = (hertz - left) / (middle - left), (right - hertz) / (right - middle)
    weights = np.maximum(0, np.minimum(rising, falling))
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return weights.T.astype(np.float32), edges[1:-1].astype(np.float32)
