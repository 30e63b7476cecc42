"""Find out what a list of clips is, and read it."""

import re
from dataclasses import dataclass

from cutmv.media.errors import MediaError
from cutmv.media.times import edl, lines
from cutmv.media.times.entry import Entry, Line, WrongLine
from cutmv.media.times.table import table_of
from cutmv.media.times.timecode import FileTimes
from cutmv.media.times.times import Backwards, Clip, parse_clip

#: Characters of a line at most: more is no line that a person wrote.
MAX_LINE_CHARS = 1_000
#: Clips of a list at most.
MAX_CLIPS = 2_000
#: Lines that are told of at most where some can't be read.
MAX_WRONG = 20

NO_ORDER = "its chapter begins no later than the one before it: write them in their order."
NO_CLIPS = "There is no clip in the list: write one a line, as START-END."


@dataclass(frozen=True)
class LabelledClip:
    """A clip, the text that `parse_clip` reads it from, and its label, perhaps empty."""

    clip: Clip
    text: str
    label: str


def parse_clip_list(text: str, file: FileTimes) -> list[LabelledClip]:
    """The clips of a list, in its order.

    It is an EDL, a table (CSV), a clip and a label a line, or chapters. Raises MediaError that
    shows the first line that can't be read.
    """
    return _read(_lines(text), file)


def read_clip_list(text: str, file: FileTimes) -> tuple[list[LabelledClip], list[WrongLine]]:
    """The clips of a list, as `parse_clip_list`, and the lines that can't be read, a few of them.

    Each of these is left out, and the rest is read again. Raises MediaError for what is wrong with
    the list and no line.
    """
    written, wrong = _lines(text), list[WrongLine]()
    while len(wrong) < MAX_WRONG:
        try:
            return _read(written, file), wrong
        except WrongLine as error:
            wrong.append(error)
            written = [line for line in written if line.number != error.number]
        except MediaError:
            if wrong:
                break
            raise
    return [], wrong


def _lines(text: str) -> list[Line]:
    # Other characters at which Python ends a line are part of one for editors.
    numbered = enumerate(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")), start=1)
    return [Line(number, line.strip()) for number, line in numbered if line.strip()]


def _read(written: list[Line], file: FileTimes) -> list[LabelledClip]:
    for line in written:
        if len(line.text) > MAX_LINE_CHARS:
            raise line.wrong(f"it is longer than {MAX_LINE_CHARS} characters.")
    entries = _entries(written) if written else []
    if not entries:
        raise MediaError(NO_CLIPS)
    if len(entries) > MAX_CLIPS:
        raise MediaError(f"The list has {len(entries)} clips: at most {MAX_CLIPS} are read.")
    return [_labelled(entry, file) for entry in entries]


def parse_labelled_clip(text: str, file: FileTimes) -> LabelledClip:
    """The one clip that a text names, with a label before or after it. Raises MediaError."""
    text = text.strip()
    try:
        (entry,) = lines.entries_of([Line(1, text)])
    except (MediaError, ValueError):
        entry = None
    # A start alone is a chapter in a list, and no clip by itself.
    if entry is None or entry.clip not in text:
        return LabelledClip(parse_clip(text, file), text, "")
    return LabelledClip(parse_clip(entry.clip, file), entry.clip, entry.label)


def _entries(written: list[Line]) -> list[Entry]:
    if edl.is_edl(written):
        return edl.entries_of(written)
    if table := table_of(written[0]):
        return table.entries(written)
    return lines.entries_of(written)


def _labelled(entry: Entry, file: FileTimes) -> LabelledClip:
    try:
        clip = parse_clip(entry.clip, file)
    except Backwards as error:
        if entry.next is None:
            raise entry.line.wrong(str(error)) from error
        raise entry.next.wrong(NO_ORDER) from error
    except MediaError as error:
        raise entry.line.wrong(str(error)) from error
    return LabelledClip(clip, entry.clip, entry.label)
