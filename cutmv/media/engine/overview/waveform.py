"""Finds the peaks of the sound: how far it swings, in each short while."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

#: Samples a second in which peaks are searched, of eight bits each.
RATE = 8000
#: Samples for which one peak stands at least, a hundredth of a second, and peaks at most.
LEAST_SAMPLES, MOST_PEAKS = 80, 200_000
#: Samples by which a piece may lie beside its place without a hole being there.
JITTER = RATE // 50
#: Silence, of a sample from 0 to 255, and what makes a signed byte of such a one.
SILENT = 128
_SIGNED = bytes(each ^ SILENT for each in range(256))


class Waveform:
    """The lowest and the highest sample of each while, of sound that begins at `start_s`.

    That is seconds on the file's clock; `samples` for which one peak stands.
    """

    def __init__(self, start_s: Fraction, length_s: Fraction, samples: int | None = None) -> None:
        self._start_s, self._whole = start_s, max(1, round(length_s * RATE))
        self._samples = samples or max(LEAST_SAMPLES, -(-self._whole // MOST_PEAKS))
        count = -(-self._whole // self._samples)
        self._low, self._high = (bytearray([SILENT]) * count for _ in range(2))
        self._resampler: AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._next = 0

    def take(self, frame: AudioFrame, tick: Fraction) -> None:
        """Listen to a piece of the sound, in its place by its clock."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or form != self._form:
            # Not one channel of many, in which what is opposed in them would be silent.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = AudioResampler(format="u8p", layout=layout, rate=RATE)
            self._form = form
        if frame.pts is not None:
            at = round((frame.pts * (frame.time_base or tick) - self._start_s) * RATE)
            if abs(at - self._next) > JITTER:
                self._next = at
        for piece in self._resampler.resample(frame):
            for plane in piece.planes:
                self._note(self._next, bytes(plane)[: piece.samples])
            self._next += piece.samples

    def forget(self) -> None:
        """Take the next piece as one that may be anywhere."""
        self._resampler = None

    def place_of(self, part: Fraction) -> int:
        """The peak that stands for a place, a part of the whole from 0 to before 1."""
        return int(part * self._whole) // self._samples

    def told(self, heard: Sequence[int] | None = None) -> dict[str, Any]:
        """The peaks: of each the lowest and the highest sample, as signed bytes.

        Where only some are `heard`, each stands for all until the next.
        """
        both = bytearray(2 * len(self._low))
        for place, peaks in enumerate((self._low, self._high)):
            both[place::2] = _held(peaks, heard).translate(_SIGNED)
        return {"a_second": RATE / self._samples, "peaks": b64encode(both).decode()}

    def _note(self, at: int, samples: bytes) -> None:
        size, past = self._samples, at + len(samples)
        for place in range(max(0, at // size), min(len(self._low), -(-past // size))):
            each = samples[max(0, place * size - at) : (place + 1) * size - at]
            if each:
                low, high = min(each), max(each)
                self._low[place] = min(self._low[place], low)
                self._high[place] = max(self._high[place], high)


def _held(peaks: bytearray, heard: Sequence[int] | None) -> bytearray:
    if heard is None:
        return peaks
    pasts = [*heard[1:], len(peaks)]
    return bytearray().join(
        peaks[first : first + 1] * (past - first) for first, past in zip(heard, pasts, strict=True)
    )
