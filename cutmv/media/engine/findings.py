"""What people should know of a source, as far as a clip of it reaches: one sentence each."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from statistics import median

from cutmv.media.engine.source.clip import Clip

#: Seconds, and times the usual, for which a picture stands still that is told of.
STILL_S, STILL_TIMES = 1, 10
#: Seconds before a clip from which on is told that so much was read for it.
FAR_S = 30
#: Seconds of silence that are told of: sound ends with a whole packet, rarely with the picture.
SILENT_S = Fraction(1, 20)


def of_pictures(clip: Clip) -> list[str]:
    """Return what is to be told of a clip's pictures: where they are missing or damaged."""
    tick, length = clip.span.tick, clip.span.length
    shown = [clip.time(picture.pts) for picture in clip.pictures]
    usual = median([b - a for a, b in pairwise(shown)] or [0])
    longest = max(float(STILL_S / tick), STILL_TIMES * float(usual))
    found = []
    late = min(shown[0], length)
    if late * tick > SILENT_S:
        found.append(
            f"The picture begins {_seconds(late * tick)} after the clip: its first frame is shown"
            " until then."
        )
    lead = -clip.time(clip.window.timeline.pictures[0].pts)
    if lead * tick > FAR_S:
        found.append(
            f"The nearest key picture is {_seconds(lead * tick)} before the clip: all from there on"
            " had to be read."
        )
    ends = clip.window.timeline.end
    for at, following in pairwise([max(0, shown[0]), *shown[1:], length]):
        if following - at > longest:
            last = following == length and ends is not None
            why = "the file has no more picture" if last else "the file has no other picture"
            found.append(
                f"One frame is shown from {_seconds(at * tick)} to {_seconds(following * tick)} of"
                f" the clip: {why} there."
            )
    return found + _of_damage(clip)


def _of_damage(clip: Clip) -> list[str]:
    seen = {picture.pts for picture in clip.pictures}
    damaged = clip.damaged & seen
    spoiled = clip.window.timeline.made_from(clip.damaged) & seen - damaged
    follow = "up to the next key picture"
    if damaged:
        others = f", as may what follows {follow}" if spoiled else ""
        told = f"{_frames(len(damaged))} damaged in the file, and may look so in the clip{others}."
        return [told]
    if spoiled:
        return [f"A frame before the clip is damaged in the file: the clip may look so {follow}."]
    return []


def of_sound(silent_s: Fraction) -> list[str]:
    """Return what is to be told of a clip whose sound lacks so many seconds."""
    if silent_s <= SILENT_S:
        return []
    return [f"The file has no sound for {_seconds(silent_s)} of the clip, which is silent there."]


def _seconds(value: Fraction | float) -> str:
    return f"{float(value):.3f} s"


def _frames(count: int) -> str:
    return "A frame is" if count == 1 else f"{count} frames are"
