"""Lists of lines: a clip and its label on each, or chapters, each until the next begins."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cutmv.media.times.entry import Entry, Line
from cutmv.media.times.times import BETWEEN, DASHES, END, SIGNS, START, UNITS

_DASH = re.escape(DASHES)
#: What neither begins nor ends within a time.
_BEFORE, _AFTER = rf"(?<![\w.,:;+{_DASH}])", rf"(?!\w|[:;.,{_DASH}][0-9])"
_PAIR = re.compile(rf"{_BEFORE}({START})({BETWEEN})({END}){_AFTER}", re.IGNORECASE)
_ON_A_CLOCK = re.compile(rf"{_BEFORE}[0-9]+(?:[:;][0-9]+)+(?:[.,][0-9]+)?{_AFTER}")
_IN_UNITS = re.compile(rf"{_BEFORE}{UNITS}{_AFTER}", re.IGNORECASE)
#: The bullet or the number before a line.
_BULLET = re.compile(rf"(?:[*•·{_DASH}]|[0-9]{{1,3}}[.)])\s+")
#: What may stand between a time and its label, or around either.
_AROUND = f' \t\xa0:|,;*•·→=>"{DASHES}'
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}

EXPECTED = "write one START-END and a label, or a chapter's START and its name."
NO_END = "it has no end, as the others have; write START-END and a label."


@dataclass(frozen=True)
class _Reading:
    """What a line may be: a clip, or the start of a chapter.

    `firm` says that its clip can be nothing else: "0:00 - 24" is also a chapter called 24.
    """

    line: Line
    clip: Entry | None
    firm: bool
    chapter: Entry | None


def entries_of(lines: Sequence[Line]) -> list[Entry]:
    """The clips of a list. Raises MediaError with the line that can't be read."""
    readings = [_read(line) for line in lines]
    readings = [
        each
        for each in readings
        if each.clip or each.chapter or not each.line.text.startswith(("#", "//"))
    ]
    only_chapters = any(each.chapter and not each.clip for each in readings)
    if any(each.firm for each in readings) or not only_chapters:
        for each in readings:
            if each.clip is None:
                raise each.line.wrong(NO_END if each.chapter else EXPECTED)
        return [each.clip for each in readings if each.clip]
    for each in readings:
        if each.chapter is None:
            raise each.line.wrong(EXPECTED)
    chapters = [each.chapter for each in readings if each.chapter]
    return [
        Entry(chapter.line, f"{chapter.clip}-{after.clip}", chapter.label, after.line)
        for chapter, after in pairwise(chapters)
    ] + [Entry(last.line, f"{last.clip}-end", last.label) for last in chapters[-1:]]


def _read(line: Line) -> _Reading:
    found = _BULLET.match(line.text)
    body = line.text[found.end() :] if found else line.text
    clip, firm = _clip(line, body)
    return _Reading(line, clip, firm, None if firm else _chapter(line, body))


def _clip(line: Line, body: str) -> tuple[Entry | None, bool]:
    """The clip that a line names, and whether it can be nothing else."""
    pairs, place = list[re.Match[str]](), 0
    while pair := _PAIR.search(body, place):
        pairs.append(pair)
        place = pair.start() + 1
    firm = [pair for pair in pairs if _is_firm(pair)]
    if firm:
        return (_entry(line, body, firm[0]), True) if len(firm) == 1 else (None, False)
    if len(pairs) != 1:
        return None, False
    (pair,) = pairs
    before, after = _around(body, pair)
    if not before and not after:
        return _entry(line, body, pair), False
    # Numbers alone are a clip beside a label only if nothing else there is a time.
    plain = "number" == _kind(pair[1]) == _kind(pair[3]) and not _ON_A_CLOCK.search(body)
    return (_entry(line, body, pair) if plain and not (before and after) else None), False


def _chapter(line: Line, body: str) -> Entry | None:
    """The start and the name of a chapter: its only time stands first or last."""
    times = list(_ON_A_CLOCK.finditer(body)) or list(_IN_UNITS.finditer(body))
    if len(times) != 1:
        return None
    before, after = _around(body, times[0])
    return None if before and after else _entry(line, body, times[0])


def _is_firm(pair: re.Match[str]) -> bool:
    start, between, end = pair.groups()
    if "number" == _kind(start) == _kind(end):
        return False
    if between.strip() not in DASHES or not any(each.isspace() for each in between):
        return True
    # Such a dash may also stand before a label, which may begin with a number: "0:00 - 24 Hours".
    return _kind(start) == _kind(end) or end[0] in SIGNS


def _kind(time: str) -> str:
    """How a time is written: on a clock, in units, as "end", or as a number, perhaps a label's."""
    if time.lower() == "end":
        return "end"
    if ":" in time or ";" in time:
        return "clock"
    return "number" if set(time) <= set("0123456789.,") else "units"


def _entry(line: Line, body: str, found: re.Match[str]) -> Entry:
    return Entry(line, found[0].strip(), " ".join(filter(None, _around(body, found))))


def _around(body: str, found: re.Match[str]) -> tuple[str, str]:
    """What stands before a time and after it, without what sets it off."""
    before, after = body[: found.start()].rstrip(), body[found.end() :].lstrip()
    if before and after[:1] == _BRACKETS.get(before[-1], "none"):
        before, after = before[:-1], after[1:]
    return before.strip(_AROUND), after.strip(_AROUND)
