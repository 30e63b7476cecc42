"""Choose clips by an analysis: those with the best scores that do not overlap."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from cutmv.media.errors import MediaError
from cutmv.media.suggestions.analysis import Analysis
from cutmv.media.suggestions.scoring import Scorer, Start
from cutmv.media.suggestions.times import time_text

#: On what clips begin: beats, scene changes, or whichever there is.
BeginOn = Literal["any", "beat", "scene"]
#: How many clips, and of how many seconds, unless asked otherwise.
SUGGESTED_CLIPS, SUGGESTED_S = 10, 15.0
#: Seconds between a beat and a scene change that are felt as one.
SAME_S = 0.1
#: Seconds by which rounding may have two clips overlap.
SLACK_S = 1e-6
#: How many there may be, and the seconds of the shortest.
MOST_SUGGESTED, SHORTEST_SUGGESTED_S = 100, 0.5


@dataclass(frozen=True)
class Suggestion:
    """A clip from `start` to before `end` (s), how good it is from 0 to 1, and why.

    `text` is the clip as people write it; `label` names its results.
    """

    start: float
    end: float
    score: float
    label: str
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """The clip, as `parse_clip` reads it."""
        return f"{time_text(self.start)}-{time_text(self.end)}"

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it."""
        plain = {"text": self.text, "start": self.start, "end": self.end, "score": self.score}
        return plain | {"label": self.label, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Suggestions:
    """Clips, the best first, and what is to be known of all: the tempo, what was not found."""

    clips: tuple[Suggestion, ...]
    notes: tuple[str, ...]


def suggest(
    analysis: Analysis,
    *,
    clips: int = SUGGESTED_CLIPS,
    length_s: float = SUGGESTED_S,
    on: BeginOn = "any",
) -> Suggestions:
    """The best clips of a video, `clips` at most, none longer than `length_s` seconds.

    They do not overlap, lie whole in the picture, and begin with a picture. Where there is nothing
    of what they shall begin `on`, they begin on something else, and a note says so. Raises
    MediaError when the video is too short for one.
    """
    if not 1 <= clips <= MOST_SUGGESTED:
        raise MediaError(f"{clips} clips can't be suggested: ask for 1 to {MOST_SUGGESTED}.")
    if not length_s >= SHORTEST_SUGGESTED_S:  # nor is "not a number"
        raise MediaError(
            f"{length_s:g} s is too short for a clip: ask for {SHORTEST_SUGGESTED_S:g} s."
        )
    there = analysis.end - analysis.first
    length = _whole_pictures(analysis, length_s)
    if there < length - SLACK_S:
        raise MediaError(
            f"The video's picture lasts {there:.3f} s, which is less than a clip of {length_s:g} s:"
            " ask for shorter ones."
        )
    starts, notes = _starts(analysis, on)
    latest = analysis.end - length + SLACK_S
    scorer = Scorer(analysis, length)
    possible = [start for start in starts if analysis.first <= start.at <= latest]
    if not possible:
        possible = [Start(analysis.first)]
    found = _best([(start, scorer.score(start)) for start in possible], length, clips)
    if len(found) < clips:
        notes.append(f"There is room for {len(found)} of {clips} clips.")
    loudest = scorer.loudest([start for start, _ in found])
    made = tuple(
        Suggestion(
            start.at,
            round(start.at + length, 6),
            round(score, 2),
            f"{scorer.name(start)} {place}",
            tuple(scorer.reasons(start, loudest=start is loudest)),
        )
        for place, (start, score) in enumerate(found, start=1)
    )
    return Suggestions(made, tuple(notes))


def _whole_pictures(analysis: Analysis, length_s: float) -> float:
    """The length of a clip that ends with a whole picture, and is not longer than asked."""
    if analysis.rate is None:
        return length_s
    pictures = length_s * analysis.rate + 1e-3
    return max(1, int(pictures)) / analysis.rate if math.isfinite(pictures) else length_s


def _starts(analysis: Analysis, on: BeginOn) -> tuple[list[Start], list[str]]:
    """Where clips may begin, in order, and the notes on that."""
    beats, scenes = _beats(analysis), _scenes(analysis)
    notes = [_tempo(analysis)]
    if analysis.rough:
        notes.append("The video is large: only its key pictures were looked at.")
    if on != "scene" and beats:
        return beats, notes
    if on == "beat":
        notes.append("So clips begin on scene changes." if scenes else "So clips begin anywhere.")
    elif not scenes:
        notes.append("No scene changes were found: clips begin anywhere.")
    if on == "scene" and not scenes and beats:
        notes[-1] = "No scene changes were found: clips begin on beats."
        return beats, notes
    if scenes and on != "any":
        return scenes, notes
    halves = [Start(at) for at in analysis.half_pictures]
    return sorted([*scenes, *halves], key=lambda start: start.at), notes


def _tempo(analysis: Analysis) -> str:
    if not analysis.sound:
        return "There is no sound, so no beat."
    if analysis.tempo is None:
        silent = sum(end - start for start, end in analysis.silence) > 0.9 * analysis.length_s
        return "The sound is silent: no beat." if silent else "The sound has no steady beat."
    unclear = ", where bars begin is not clear"
    bars = f", bars of {analysis.meter} beats" if analysis.meter else unclear
    return f"About {analysis.tempo:g} beats a minute{bars}."


def _beats(analysis: Analysis) -> list[Start]:
    """The beats, or the first beats of bars where they are known."""
    first = set(analysis.downbeats)
    starts = []
    for beat, picture in zip(analysis.beats, analysis.beat_pictures, strict=True):
        if not first or beat in first:
            cut = _near(analysis.scenes, picture, SAME_S)
            at = picture if cut is None else cut
            starts.append(Start(at, beat, beat in first, cut is not None))
    return sorted(starts, key=lambda start: start.at)


def _scenes(analysis: Analysis) -> list[Start]:
    opening = () if not analysis.scenes else (analysis.first,)
    return [Start(at, scene=True) for at in (*opening, *analysis.scenes)]


def _near(times: tuple[float, ...], at: float, within: float) -> float | None:
    place = bisect_right(times, at)
    near = [each for each in times[max(0, place - 1) : place + 1] if abs(each - at) <= within]
    return min(near, key=lambda each: abs(each - at)) if near else None


def _best(scored: list[tuple[Start, float]], length: float, most: int) -> list[tuple[Start, float]]:
    """The clips with the best scores that do not overlap.

    One that would leave room for fewer than there could be, of `most`, is passed over.
    """
    starts = [start.at for start, _ in scored]
    most = _room(starts, [], length, most)
    found: list[tuple[Start, float]] = []
    taken: list[float] = []
    for start, score in sorted(scored, key=lambda each: (-each[1], each[0].at)):
        with_it = sorted([*taken, start.at])
        if any(later - earlier < length - SLACK_S for earlier, later in pairwise(with_it)):
            continue
        if len(with_it) + _room(starts, with_it, length, most - len(with_it)) >= most:
            found.append((start, score))
            taken = with_it
        if len(found) == most:
            break
    return found


def _room(starts: list[float], taken: list[float], length: float, enough: int) -> int:
    """How many clips that begin at some of `starts` fit beside those taken; `enough` at most."""
    count, free = 0, float("-inf")
    while count < enough:
        place = bisect_left(starts, free)
        if place == len(starts):
            break
        at = starts[place]
        beside = bisect_right(taken, at - length + SLACK_S)
        if beside < len(taken) and taken[beside] < at + length - SLACK_S:
            free = taken[beside] + length - SLACK_S
        else:
            count, free = count + 1, at + length - SLACK_S
    return count
