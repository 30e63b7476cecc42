"""What a source's packets say of its pictures: the truth by which a clip is cut."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from statistics import median

#: The part by which pictures may be nearer or farther apart than elsewhere to be evenly spaced.
EVEN = Fraction(1, 10)


class Entry(Enum):
    """Whether decoding can begin at a packet.

    CLEAN: there, and what follows in decoding order needs nothing before it. OPEN: there, but
    pictures that follow and are shown before it need others. ROUGH: there, but pictures that follow
    may be wrong or missing for a while. NONE: not there.
    """

    NONE = "none"
    ROUGH = "rough"
    OPEN = "open"
    CLEAN = "clean"

    @property
    def exact(self) -> bool:
        """Whether it is known which pictures can be decoded from there."""
        return self in (Entry.OPEN, Entry.CLEAN)


@dataclass(frozen=True, slots=True)
class Picture:
    """One packet of the picture's stream. Times are ticks of its clock.

    `shown` is false for one that is decoded and not shown: cut away by an edit list, or hidden by
    its codec.
    """

    pts: int
    dts: int | None
    entry: Entry = Entry.NONE
    shown: bool = True
    size: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """The pictures of a part of a source, in decoding order.

    It begins at an entry from which all of a clip's pictures can be decoded, and holds every
    picture that is shown before the clip's end. `end` is when the last picture of the source is no
    longer shown, none where the source goes on.
    """

    pictures: Sequence[Picture]
    end: int | None = None

    def shown(self) -> list[Picture]:
        """Return the pictures in the order in which they are shown."""
        return sorted((p for p in self.pictures if p.shown), key=lambda picture: picture.pts)

    def entry_before(self, pts: int) -> int | None:
        """Return the place of the last entry that is shown at `pts` or before, none without one."""
        entries = (
            place
            for place, picture in enumerate(self.pictures)
            if picture.entry is not Entry.NONE and picture.pts <= pts
        )
        return max(entries, default=None)

    def last_of(self, wanted: Container[int]) -> int:
        """Return the place of the last picture that is shown at one of the times `wanted`."""
        places = range(len(self.pictures) - 1, -1, -1)
        return next(place for place in places if self.pictures[place].pts in wanted)

    def made_from(self, damaged: Container[int]) -> set[int]:
        """Return when pictures are shown that may be made from those that are shown at `damaged`.

        They follow one of them in decoding order, up to an entry from which it is not needed.
        """
        found: set[int] = set()
        before = -math.inf
        for picture in self.pictures:
            if picture.entry.exact:
                before = min(before, picture.pts)
            if picture.pts < before:
                found.add(picture.pts)
            if picture.pts in damaged:
                before = math.inf
        return found

    def between(self, start: int, end: int) -> list[Picture]:
        """Return the pictures that are seen from `start` to before `end`, in order.

        The first is the one that is shown at `start`, even if it began earlier; where none has
        begun by then, the first that follows, even if that is after the end.
        """
        shown = self.shown()
        inside = [picture for picture in shown if picture.pts < end] or shown[:1]
        begun = sum(picture.pts <= start for picture in inside)
        return inside[max(0, begun - 1) :]


def without_overlap(pictures: Sequence[Picture]) -> tuple[list[Picture], int]:
    """Return pictures, in decoding order, of which none is shown after a later key picture.

    That is so within any stream, but not where two were joined and the clock steps back: from
    there on the second is shown. Returns, too, by how many ticks it does at most.
    """
    found, latest, most = list(pictures), -math.inf, 0
    for place, picture in enumerate(pictures):
        if picture.entry is not Entry.NONE and picture.shown and picture.pts <= latest:
            most = max(most, int(latest) - picture.pts)
            for at in range(place - 1, -1, -1):
                before = found[at]
                whole = before.entry is not Entry.NONE and before.pts < picture.pts
                if whole or not before.shown:
                    break  # and so are all before it
                if before.pts >= picture.pts:
                    found[at] = replace(before, shown=False)
            latest = picture.pts
        if picture.shown:
            latest = max(latest, picture.pts)
    return found, most


def without_holes(times: Sequence[int | None]) -> list[int] | None:
    """Return when pictures are shown, in the order of showing, of which some have no time.

    These stand evenly between those that have one. None where that would not be as far apart as
    pictures are elsewhere, by `EVEN` of it: then it is not known.
    """
    known = [(place, at) for place, at in enumerate(times) if at is not None]
    if len(known) == len(times):
        return [at for _, at in known]
    steps = [Fraction(b - a, after - place) for (place, a), (after, b) in pairwise(known)]
    if not steps:
        return None
    usual = median(steps)
    found: list[int] = []
    for (place, at), (after, _), step in zip(known, known[1:], steps, strict=False):
        if after - place > 1 and abs(step - usual) > usual * EVEN:
            return None
        found += [at + round(step * number) for number in range(after - place)]
    first, last = known[0], known[-1]
    before = [first[1] - round(usual * number) for number in range(first[0], 0, -1)]
    rest = [last[1] + round(usual * number) for number in range(len(times) - last[0])]
    return before + found + rest


def with_dts(pictures: Sequence[Picture]) -> list[Picture]:
    """Return pictures, in decoding order, each with a time of decoding.

    A demuxer may not know it (Matroska has none). Then it is the time at which the picture so many
    places earlier is shown, as few as leave no picture decoded after it is shown.
    """
    if all(picture.dts is not None for picture in pictures):
        return list(pictures)
    shown = sorted(picture.pts for picture in pictures)
    delay = 0
    for place, picture in enumerate(pictures):
        while place - delay >= 0 and shown[place - delay] > picture.pts:
            delay += 1
    # A track lasts from its first DTS to its last and one duration more, so that the first picture
    # has to be decoded as long before it is shown as the last.
    last = len(pictures) - 1
    before = pictures[last].pts - shown[max(0, last - delay)] if delay else 0
    step = max(1, -(-before // max(1, delay)))
    return [
        replace(
            picture,
            dts=shown[place - delay] if place >= delay else shown[0] - step * (delay - place),
        )
        for place, picture in enumerate(pictures)
    ]
