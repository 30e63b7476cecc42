"""Tables of clips: values set apart by commas, semicolons or tabs, with a header or without."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cutmv.media.times.entry import Entry, Line
from cutmv.media.times.times import START

#: What sets values apart, the surest first.
SEPARATORS = ("\t", ";", ",")
#: The names of columns, in lower case.
STARTS = frozenset({"start", "start time", "starttime", "in", "begin", "from"})
ENDS = frozenset({"end", "end time", "endtime", "out", "stop", "to"})
LENGTHS = frozenset({"duration", "length"})
LABELS = frozenset({"name", "label", "title", "marker name", "clip", "clip name"})

_TIME = re.compile(START, re.IGNORECASE)
_WITH_SEMICOLONS = re.compile(r"[0-9]+;[0-9]+;[0-9]+;[0-9]+")


@dataclass(frozen=True)
class Table:
    """How a table is read: what sets its values apart, and the places of its columns.

    `header` says that the first line names them.
    """

    separator: str
    start: int
    end: int | None
    length: int | None
    label: int | None
    header: bool

    def entries(self, lines: Sequence[Line]) -> list[Entry]:
        """The clips of the table. Raises MediaError with the line that can't be read."""
        return [self._entry(line) for line in (lines[1:] if self.header else lines)]

    def _entry(self, line: Line) -> Entry:
        cells = split(line.text, self.separator)

        def cell(place: int | None) -> str:
            return cells[place] if place is not None and place < len(cells) else ""

        start, end, length = cell(self.start), cell(self.end), cell(self.length)
        if not (start or end or length):
            raise line.wrong("it has no time where the table's first line has one.")
        # A start that is left out is the file's, an end the file's end.
        start = start or "0"
        clip = f"{start}-{end}" if end or not length else f"{start}+{length}"
        return Entry(line, f"{start}-end" if clip.endswith("-") else clip, cell(self.label))


def table_of(first: Line) -> Table | None:
    """The table that begins with this line; None when it begins none."""
    for separator in SEPARATORS:
        if separator == ";" and _WITH_SEMICOLONS.search(first.text):
            continue  # drop-frame timecode
        cells = split(first.text, separator)
        if len(cells) < 2:
            continue
        if table := _by_header(separator, cells) or _by_times(separator, cells):
            return table
    return None


def split(text: str, separator: str) -> list[str]:
    """The values of one line, without the space around them."""
    return [cell.strip() for cell in next(csv.reader([text], delimiter=separator), [])]


def _by_header(separator: str, cells: Sequence[str]) -> Table | None:
    names = [cell.lower().replace("_", " ") for cell in cells]

    def place(wanted: frozenset[str]) -> int | None:
        return next((place for place, name in enumerate(names) if name in wanted), None)

    start, end, length = place(STARTS), place(ENDS), place(LENGTHS)
    if start is None or (end is None and length is None):
        return None
    return Table(separator, start, end, length, place(LABELS), header=True)


def _by_times(separator: str, cells: Sequence[str]) -> Table | None:
    """A table without a header: start, end and label, or the label first."""
    for start, label in ((0, 2), (1, 0)):
        times = cells[start : start + 2]
        filled = [cell for cell in times if cell]
        if len(times) == 2 and filled and all(_is_time(cell) for cell in filled):
            return Table(separator, start, start + 1, None, label, header=False)
    return None


def _is_time(cell: str) -> bool:
    return cell.lower() == "end" or _TIME.fullmatch(cell) is not None
