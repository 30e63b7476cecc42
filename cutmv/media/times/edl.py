"""Edit decision lists (CMX 3600): the source's in and out of each event."""

import re
from collections.abc import Sequence
from dataclasses import replace

from cutmv.media.times.entry import Entry, Line

#: The reel of black, which no source has.
BLACK = "BL"

_TIMECODE = r"[0-9]{1,3}[:;][0-9]{2}[:;][0-9]{2}[:;.][0-9]{2,3}"
# Number, reel, tracks, transition (and its length), source in and out, record in and out.
_EVENT = re.compile(
    rf"[0-9]+\s+(\S+)\s+(\S+)\s+\S+(?:\s+[0-9]+)?\s+({_TIMECODE})\s+({_TIMECODE})"
    rf"\s+{_TIMECODE}\s+{_TIMECODE}"
)
_COUNTING = re.compile(r"FCM\s*:", re.IGNORECASE)
_LABEL = re.compile(r"\*\s*(FROM CLIP NAME|TO CLIP NAME|COMMENT)\s*:\s*(.*)", re.IGNORECASE)
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


def is_edl(lines: Sequence[Line]) -> bool:
    """Whether lines are an edit decision list."""
    return any(_EVENT.match(each.text) or _COUNTING.match(each.text) for each in lines)


def entries_of(lines: Sequence[Line]) -> list[Entry]:
    """The clips of a list, one for each span that an event shows.

    Events of the sound alone count where there are none of the picture. Raises MediaError with the
    line that can't be read.
    """
    events: list[tuple[Entry, str]] = []
    comments: list[dict[str, str]] = []
    reels: dict[str, Line] = {}
    drop, past_event = False, False
    for line in lines:
        if found := _EVENT.fullmatch(line.text):
            reel, tracks, start, end = found.groups()
            past_event = start != end and reel.upper() != BLACK
            if past_event:  # a transition's first line is often a cut of no length
                reels.setdefault(reel.upper(), line)
                clip = f"{_timecode(start, drop)}-{_timecode(end, drop)}"
                events.append((Entry(line, clip), tracks.upper()))
                comments.append({})
        elif line.text[0].isdigit():
            raise line.wrong("an event of an EDL has its reel, its tracks and four timecodes.")
        elif _COUNTING.match(line.text):
            drop = "NON" not in line.text.upper()
        elif past_event and (found := _LABEL.match(line.text)):
            comments[-1].setdefault(found[1].upper(), found[2].strip())
    if len(reels) > 1:
        other = list(reels.values())[1]
        raise other.wrong(f"the EDL cuts from several sources ({', '.join(reels)}); keep one's.")
    labelled = [
        (replace(entry, label=_label(said)), tracks)
        for (entry, tracks), said in zip(events, comments, strict=True)
    ]
    shown = [entry for entry, tracks in labelled if not _is_sound(tracks)]
    # The sound of a cut is often an event of its own, of the same span.
    once = {entry.clip: entry for entry in reversed(shown or [entry for entry, _ in labelled])}
    return list(reversed(once.values()))


def _is_sound(tracks: str) -> bool:
    return tracks.startswith("A") and "V" not in tracks


def _timecode(text: str, drop: bool) -> str:
    """A timecode that says itself whether it is drop-frame."""
    whole, separator, frames = re.split(r"([:;.])(?=[0-9]+$)", text)
    return f"{whole.replace(';', ':')}{';' if drop or separator == ';' else ':'}{frames}"


def _label(said: dict[str, str]) -> str:
    """What a person wrote of an event, else the name of the clip without its extension."""
    # In a transition the clip that it comes from is another event's.
    name = said.get("TO CLIP NAME") or said.get("FROM CLIP NAME", "")
    return said.get("COMMENT") or _EXTENSION.sub("", name)
