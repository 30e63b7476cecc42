"""Decides which pictures of a clip are copied and which are encoded. Pure.

A clip is the pictures that are seen from a START to before an END. A smart cut is at most three
segments of them: a head that is encoded, a run that is copied bit for bit, a tail that is encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cutmv.media.engine.timeline.pictures import Entry, Picture, Timeline


@dataclass(frozen=True, slots=True)
class Encoded:
    """Pictures to decode and encode, in the order in which they are shown."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Copied:
    """Packets to copy, in decoding order. `first` and `last` are their places in the timeline.

    Packets between them that are not in `pictures` are left out: pictures shown before the entry
    at which the run begins, which need what is not copied.
    """

    first: int
    last: int
    pictures: tuple[Picture, ...]


Segment = Encoded | Copied


def decide(timeline: Timeline, start: int, end: int, *, smallest_run: int = 1) -> list[Segment]:
    """Return the segments of the clip from `start` to before `end`, in ticks, in their order.

    The run that is copied is the longest there is; where it has fewer than `smallest_run` pictures
    all is encoded. No segment is empty, and each picture of the clip is in one of them.
    """
    wanted = timeline.between(start, end)
    if not wanted:
        return []
    best: Copied | None = None
    for place in _entries(timeline.pictures, wanted[0], end):
        run = _run(timeline.pictures, place, end)
        if run is not None:
            best = run  # the first entry begins the longest run
            break
    if best is None or len(best.pictures) < smallest_run:
        return [Encoded(tuple(wanted))]
    shown = [picture.pts for picture in best.pictures if picture.shown]
    first, last = min(shown), max(shown)
    head = tuple(picture for picture in wanted if picture.pts < first)
    tail = tuple(picture for picture in wanted if picture.pts > last)
    return [
        *([Encoded(head)] if head else []),
        best,
        *([Encoded(tail)] if tail else []),
    ]


def _entries(pictures: Sequence[Picture], first: Picture, end: int) -> list[int]:
    """Return the places of the entries at which a copy may begin."""
    return [
        place
        for place, picture in enumerate(pictures)
        if picture.entry.exact and picture.shown and first.pts <= picture.pts < end
    ]


def _run(pictures: Sequence[Picture], first: int, end: int) -> Copied | None:
    """Return the longest run from an entry on that is a whole stream, and is shown before `end`.

    A run is a whole stream when each of its pictures is shown before any that is left out: then
    no decoder waits for one that does not come, and the next segment follows without a gap. What
    precedes an entry in the order of showing and follows it in that of decoding is left out at
    the run's start, and what is not shown (before an edit list's start) nowhere in it.
    """
    entry = pictures[first]
    kept: list[Picture] = []
    places: list[int] = []
    for place in range(first, len(pictures)):
        picture = pictures[place]
        if picture.shown and picture.pts >= end:
            break
        if picture.pts < entry.pts:
            if entry.entry is Entry.CLEAN and picture.shown:
                return None  # shown before what it can be decoded from alone
            continue
        kept.append(picture)
        places.append(place)
    else:
        place = len(pictures)
    # The earliest time of what follows the run's end, in decoding order, while it is shortened.
    rest = [picture.pts for picture in pictures[place:] if picture.shown]
    earliest = min(rest, default=None)
    latest: list[int] = []  # of the kept pictures up to each
    for picture in kept:
        shown = picture.pts if picture.shown else entry.pts
        latest.append(max(latest[-1], shown) if latest else shown)
    while kept and earliest is not None and latest[-1] >= earliest:
        dropped = kept.pop()
        places.pop()
        latest.pop()
        if dropped.shown:
            earliest = min(earliest, dropped.pts)
    # A hidden picture at the end is shown by a later one, if at all.
    while kept and not kept[-1].shown:
        kept.pop()
        places.pop()
    return Copied(first, places[-1], tuple(kept)) if kept else None
