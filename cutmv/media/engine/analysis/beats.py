"""Finds the tempo, the beats and the first beats of bars in the strength of onsets.

The beats are those of D. Ellis, "Beat Tracking by Dynamic Programming" (2007), as librosa's are:
strong onsets, evenly spaced. Bars are a best effort: they are told only where one beat in three or
four stands out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cutmv.media.engine.analysis.onsets import FIRST_S, MOMENTS

#: Beats a minute that a tempo may have, and the one that most music is near to, with the octaves
#: by which it is away from there.
SLOWEST, FASTEST = 50.0, 210.0
USUAL, OCTAVES = 120.0, 0.9
#: How much more an even beat is worth than a strong onset (Ellis' alpha).
TIGHTNESS = 100.0
#: How far the strongest onsets, one moment in fifty, must rise: a steady tone ripples less.
LEAST_RISE = 0.005
#: Seconds of the pieces in which the sound is compared with itself.
PIECE_S = 12.0
#: How much the onsets of a piece must be like themselves a beat later for it to have a beat.
LEAST_CLARITY = 0.15
#: How strong what lies between two beats must be, against them, for it to be beats as well; and
#: how weak every other beat for it to be none.
STRONG, WEAK = 0.7, 0.2
#: How strong the first and the last beat must be, against the one in the middle.
BEGUN = 0.25
#: Beats a minute up to which the tempo may be doubled, and from which it may be halved.
DOUBLED_TO, HALVED_FROM = 105.0, 150.0
#: Beats of a passage in which bars are looked for, and how far (in standard deviations) the first
#: beats of bars must stand out.
BARS_FROM, STANDS_OUT = 16, 0.8
#: Beats of a bar that are looked for, the usual first.
METERS = (4, 3)

Array = np.ndarray[Any, np.dtype[Any]]
Span = tuple[float, float]


def find_beats(onsets: Array, low: Array, silence: list[Span]) -> dict[str, Any]:
    """Return the tempo (beats a minute), the meter, and when beats and first beats are (s).

    `tempo` is none where there is no beat, `meter` where it is not clear.
    """
    none: dict[str, Any] = {"tempo": None, "meter": None, "beats": [], "downbeats": []}
    if len(onsets) < 4 * MOMENTS:
        return none
    strength = _standing_out(onsets)
    period, clarity = _period(strength)
    if clarity < LEAST_CLARITY:
        return none
    period, beats = _right_octave(strength, period)
    beats = _heard(_begun(strength, beats), silence)
    if len(beats) < 4:
        return none
    over = min(8, len(beats) - 1)
    tempo = 60 * MOMENTS * over / np.median(beats[over:] - beats[:-over])
    accents = _at(strength, beats) + 2 * _at(_standing_out(low), beats)
    meter, first = _bars(accents, beats, period)
    times = [max(0.0, round(float(each), 3)) for each in beats / MOMENTS + FIRST_S]
    return {
        "tempo": round(float(tempo), 1),
        "meter": meter,
        "beats": times,
        "downbeats": [times[place] for place in first],
    }


def _standing_out(onsets: Array) -> Array:
    """Return how far each moment is above what is usual around it, in standard deviations."""
    width = round(MOMENTS) | 1
    around = np.convolve(np.pad(onsets, width // 2, "edge"), np.ones(width) / width, "valid")
    above = np.maximum(onsets - around, 0)
    rises = np.quantile(above, 0.98) >= LEAST_RISE
    return np.asarray(above / (above.std() if rises else np.inf))


def _period(strength: Array) -> tuple[float, float]:
    """Return the moments from beat to beat, and how clear that is, from 0 to 1."""
    size = min(round(PIECE_S * MOMENTS), len(strength))
    lags = np.arange(size // 2 + 1)
    likeness, pieces = np.zeros(len(lags)), 0
    for start in range(0, len(strength) - size + 1, max(1, size // 2)):
        piece = strength[start : start + size] - strength[start : start + size].mean()
        spectrum = np.fft.rfft(piece, 2 * size)
        like = np.fft.irfft(np.abs(spectrum) ** 2)[: len(lags)]
        if like[0] > 0:
            likeness += like / like[0] * (size / (size - lags))
            pieces += 1
    if not pieces:
        return 1.0, 0.0
    # A beat is seldom a whole number of moments: what is near counts, too.
    likeness = np.convolve(likeness / pieces, [0.5, 1.0, 0.5], "same")
    slowest, fastest = (60 * MOMENTS / each for each in (SLOWEST, FASTEST))
    tried = np.arange(fastest, slowest, 0.05)

    def like_at(multiple: int) -> Array:
        return np.asarray(np.interp(multiple * tried, lags, likeness, right=0.0))

    combed = like_at(1) + 0.7 * like_at(2) + 0.5 * like_at(4)
    usual = np.exp(-0.5 * (np.log2(60 * MOMENTS / tried / USUAL) / OCTAVES) ** 2)
    best = int(np.argmax(combed * usual))
    return float(tried[best]), float(np.clip(like_at(1)[best], 0, 1))


def _right_octave(strength: Array, period: float) -> tuple[float, Array]:
    """Return the period and its beats; half or double where what lies between them says so."""
    beats = _track(strength, period)
    tempo = 60 * MOMENTS / period
    on = _at(strength, beats)
    if tempo <= DOUBLED_TO:
        between = _at(strength, (beats[1:] + beats[:-1]) / 2)
        if between.mean() >= STRONG * on.mean():
            return period / 2, _track(strength, period / 2)
    if tempo >= HALVED_FROM:
        weaker, stronger = sorted((on[::2], on[1::2]), key=lambda each: float(each.mean()))
        if weaker.mean() <= WEAK * stronger.mean():
            return 2 * period, _track(strength, 2 * period)
    return period, beats


def _track(strength: Array, period: float) -> Array:
    """Return the moments of the beats, refined between two moments."""
    width = np.arange(-round(period), round(period) + 1)
    smooth = np.convolve(strength, np.exp(-0.5 * (32 * width / period) ** 2), "same")
    back = np.arange(-round(2 * period), -max(1, round(period / 2)) + 1)
    cost = -TIGHTNESS * np.log(-back / period) ** 2
    score, before = smooth.astype(np.float64), np.full(len(smooth), -1)
    least = 0.01 * smooth.max()
    started = False
    for moment in range(len(smooth)):
        places = moment + back
        there = places >= 0
        if there.any():
            values = score[places[there]] + cost[there]
            best = int(np.argmax(values))
            if started or smooth[moment] >= least:
                score[moment] += values[best]
                before[moment] = places[there][best] if started else -1
        started = started or bool(smooth[moment] >= least)
    last = len(score) - round(period) + int(np.argmax(score[-round(period) :]))
    beats = []
    while last >= 0:
        beats.append(last)
        last = int(before[last])
    return _refined(strength, np.array(beats[::-1]))


def _refined(strength: Array, beats: Array) -> Array:
    """Return each beat at the peak near it, between moments by a parabola."""
    found = []
    for beat in beats.tolist():
        start = max(1, beat - 2)
        near = strength[start : min(beat + 3, len(strength) - 1)]
        peak = start + int(np.argmax(near)) if len(near) and near.max() > 0 else beat
        if 0 < peak < len(strength) - 1:
            a, b, c = strength[peak - 1 : peak + 2]
            bend = a - 2 * b + c
            found.append(peak + (0.5 * (a - c) / bend if bend < 0 else 0.0))
        else:
            found.append(float(beat))
    return np.array(found)


def _begun(strength: Array, beats: Array) -> Array:
    """Return the beats without those before the first onset, and after the last, that is strong."""
    strong = _at(strength, beats)
    places = np.flatnonzero(strong >= BEGUN * np.median(strong))
    return beats[places[0] : places[-1] + 1]


def _heard(beats: Array, silence: list[Span]) -> Array:
    times = beats / MOMENTS + FIRST_S
    heard = np.ones(len(beats), bool)
    for start, end in silence:
        heard &= ~((times > start + 0.05) & (times < end - 0.05))
    return beats[heard]


def _at(strength: Array, beats: Array) -> Array:
    """Return the strongest onset within two moments of each beat."""
    near = np.rint(beats).astype(int)[:, None] + np.arange(-2, 3)
    return np.asarray(strength[np.clip(near, 0, len(strength) - 1)].max(axis=1))


def _bars(accents: Array, beats: Array, period: float) -> tuple[int | None, list[int]]:
    """Return how many beats a bar has, and the places of first beats, where they stand out."""
    passages = np.split(np.arange(len(beats)), np.flatnonzero(np.diff(beats) > 1.5 * period) + 1)
    best: tuple[float, int, list[int]] = (0.0, METERS[0], [])
    for meter in METERS:
        first: list[int] = []
        clear = 0.0
        for passage in passages:
            if len(passage) < BARS_FROM:
                continue
            of = accents[passage]
            phases = [of[phase::meter] for phase in range(meter)]
            means = [float(phase.mean()) for phase in phases]
            order = np.argsort(means)[::-1].tolist()
            spread = np.sqrt(np.mean([phase.var() for phase in phases])) + 1e-9
            above = (means[order[0]] - means[order[1]]) / spread
            if above >= STANDS_OUT:
                first += passage[order[0] :: meter].tolist()
                clear += above * len(passage)
        if clear > best[0]:
            best = (clear, meter, first)
    return (best[1] if best[2] else None), best[2]
