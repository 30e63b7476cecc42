"""How good a clip is, from 0 to 1, and why."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from cutmv.media.suggestions.analysis import STRIDE_S, Analysis, Span

#: What each quality of a clip counts of its score.
ENERGY, RISE, ENTRY, SCENE, MOVEMENT = 0.45, 0.15, 0.2, 0.1, 0.1
#: Of what black and silence take away: all at a tenth of the clip.
WORST_PART = 0.1
#: Decibels over which loudness counts, below that of the loudest tenth.
RANGE_DB = 24.0
#: Decibels by which it becomes louder where a part begins, and the seconds that are compared,
#: before and after.
RISE_DB, BEFORE_S, AFTER_S = 6.0, 4.0, 2.0


@dataclass(frozen=True)
class Start:
    """Where a clip may begin: with the picture at `at` (s); what begins there."""

    at: float
    beat: float | None = None
    downbeat: bool = False
    scene: bool = False


class Scorer:
    """Scores clips of one length (s)."""

    def __init__(self, analysis: Analysis, length_s: float) -> None:
        self._analysis, self._length_s = analysis, length_s
        loud = sorted(analysis.loudness)
        self._loudest = loud[int(0.9 * (len(loud) - 1))] if loud else None
        moving = sorted(analysis.movement)
        self._most_moving = moving[int(0.9 * (len(moving) - 1))] if moving else 0.0
        #: The highest energy of the clips that were scored.
        self._highest = 0.0

    def score(self, start: Start) -> float:
        """How good the clip is that begins there."""
        energy, moving = self._energy(start.at), self._moving(start.at)
        if energy is None:  # what moves stands for what is loud
            whole = (ENERGY + RISE + MOVEMENT) * moving
        else:
            self._highest = max(self._highest, energy)
            whole = ENERGY * energy + RISE * self._rise(start.at) + MOVEMENT * moving
        entry = 1.0 if start.downbeat else 0.6 if start.beat is not None else 0.0
        whole += ENTRY * entry + SCENE * start.scene
        dark, silent = self._dark(start.at), self._silent(start.at)
        spoilt = min(1.0, (dark + silent) / (WORST_PART * self._length_s))
        return min(1.0, whole) * (1 - spoilt)

    def name(self, start: Start) -> str:
        """One or two words for the clip, for its label."""
        if self._energy(start.at) is not None and self._rise(start.at) >= 1:
            return "rise"
        if self._is_loud(start.at):
            return "peak"
        if start.scene:
            return "scene"
        return "downbeat" if start.downbeat else "beat" if start.beat is not None else "part"

    def loudest(self, starts: Sequence[Start]) -> Start | None:
        """Which of the clips is as loud as any that was scored."""
        loud = [(self._energy(start.at) or 0.0, start) for start in starts]
        energy, start = max(loud, key=lambda each: each[0], default=(0.0, None))
        return start if energy and energy >= self._highest - 0.01 else None

    def reasons(self, start: Start, *, loudest: bool) -> list[str]:
        """Why the clip is suggested, and what is to be said against it."""
        on = "a downbeat" if start.downbeat else "a beat" if start.beat is not None else ""
        opening = "with the video's first picture" if start.at <= self._analysis.first else ""
        cut = "at a scene change" if start.scene and not opening else ""
        told = [f"begins {' '.join(filter(None, (on and f'on {on}', cut, opening)))}"]
        told = told if told != ["begins "] else []
        energy = self._energy(start.at)
        if energy is not None and self._rise(start.at) >= 1:
            told.append("becomes louder there")
        if loudest:
            told.append("the loudest part")
        elif self._is_loud(start.at):
            told.append("loud")
        elif energy is None and self._moving(start.at) >= 0.8:
            told.append("much moves")
        cuts = self._cuts(start.at)
        if cuts:
            told.append(f"{cuts} scene change{'s' if cuts > 1 else ''} inside")
        dark, silent = self._dark(start.at), self._silent(start.at)
        told.append(f"{dark:.1f} s of black" if dark >= 0.05 else "no black")
        if self._analysis.sound:
            told.append(f"{silent:.1f} s of silence" if silent >= 0.05 else "no silence")
        return told

    def _energy(self, at: float) -> float | None:
        """How loud the clip is against the loudest tenth of the video; none without sound."""
        if self._loudest is None or self._loudest <= -90:
            return None
        return _part(self._mean_db(at, at + self._length_s) - self._loudest + RANGE_DB, RANGE_DB)

    def _is_loud(self, at: float) -> bool:
        energy = self._energy(at)
        return energy is not None and energy >= 0.9

    def _rise(self, at: float) -> float:
        """Whether the sound becomes louder where the clip begins."""
        if at < BEFORE_S / 2:
            return 0.0
        before = self._mean_db(max(0.0, at - BEFORE_S), at)
        return _part(self._mean_db(at, at + AFTER_S) - before, RISE_DB)

    def _moving(self, at: float) -> float:
        moving = self._analysis.movement
        return _part(_mean(moving, at, at + self._length_s), self._most_moving)

    def _cuts(self, at: float) -> int:
        """How many scene changes are in the clip, without one at its start."""
        scenes = self._analysis.scenes
        return bisect_left(scenes, at + self._length_s - 1e-6) - bisect_left(scenes, at + 1e-6)

    def _dark(self, at: float) -> float:
        return _overlap(self._analysis.black, at, at + self._length_s)

    def _silent(self, at: float) -> float:
        """Seconds of silence in the clip; a video that is silent throughout is no worse for it."""
        if self._loudest is None or self._loudest <= -90:
            return 0.0
        return _overlap(self._analysis.silence, at, at + self._length_s)

    def _mean_db(self, start: float, end: float) -> float:
        return _mean(self._analysis.loudness, start, end)


def _mean(figures: Sequence[float], start: float, end: float) -> float:
    """The mean of the figures of the half seconds that begin in a span."""
    first = round(start / STRIDE_S)
    some = figures[first : max(first + 1, round(end / STRIDE_S))]
    return sum(some) / len(some) if some else 0.0


def _part(value: float, of: float) -> float:
    return min(1.0, max(0.0, value / of)) if of > 0 else 0.0


def _overlap(spans: Sequence[Span], start: float, end: float) -> float:
    return sum(max(0.0, min(end, b) - max(start, a)) for a, b in spans if b > start and a < end)
