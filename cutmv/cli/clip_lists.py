"""Read lists of clips from files and from standard input, in whatever encoding they come."""

import codecs
import sys
from collections.abc import Sequence
from pathlib import Path

from cutmv.jobs import clips_of
from cutmv.media import (
    FileTimes,
    LabelledClip,
    MediaError,
    parse_clip_list,
    parse_labelled_clip,
)

#: Bytes of a list at most.
MAX_LIST_BYTES = 1_000_000
#: The encodings that a file names in its first bytes.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_clips(clips: Sequence[str], files: Sequence[str], file: FileTimes) -> list[LabelledClip]:
    """The clips given one by one, then those of each list; "-" is standard input.

    Raises MediaError with one line that says what is wrong, OSError.
    """
    found = clips_of(clips, (), file)
    for name in files:
        shown = "standard input" if name == "-" else name
        try:
            found += parse_clip_list(_text(name), file)
        except MediaError as error:
            raise MediaError(f"{shown}: {error}") from error
    return found


def read_film(
    clips: Sequence[str], files: Sequence[str], sources: Sequence[str], times: Sequence[FileTimes]
) -> list[tuple[int, LabelledClip]]:
    """The clips of a film of several sources, each with the place of its own.

    A clip has its file's name before it, which alone stands for all of the file; without any clip
    each file is whole. Raises MediaError with one line that says what is wrong, OSError.
    """
    lines = [(text, "") for text in clips]
    for name in files:
        listed = "standard input" if name == "-" else name
        for number, line in enumerate(_text(name).removeprefix("\ufeff").splitlines(), start=1):
            if line.strip() and not line.lstrip().startswith(("#", "//")):
                lines.append((line.strip(), f"{listed}: Line {number} can't be read: "))
    if not lines:
        lines = [(source, "") for source in sources]
    found = []
    for text, where in lines:
        place, rest = _named(text, sources, where)
        try:
            found.append((place, parse_labelled_clip(rest or "0-end", times[place])))
        except MediaError as error:
            raise MediaError(f"{where}{error}") from error
    return found


def _named(text: str, sources: Sequence[str], where: str) -> tuple[int, str]:
    """The place of the source that a clip's text begins with, and the rest. Raises MediaError."""
    bare = [Path(each).name for each in sources]
    names = {name: place for place, name in enumerate(bare) if bare.count(name) == 1}
    names |= {name: place for place, name in enumerate(sources)}
    for name in sorted(names, key=len, reverse=True):
        rest = text.removeprefix(name)
        if rest != text and (not rest or rest[0] in " \t:,;"):
            return names[name], rest.strip(" \t:,;")
    raise MediaError(f"{where}{text!r} must begin with the name of its file, like {bare[-1]!r}.")


def _text(name: str) -> str:
    """The text of a list: UTF-8 or UTF-16, else as Windows writes it in the west."""
    if name == "-":
        read = sys.stdin.buffer.read(MAX_LIST_BYTES + 1)
    else:
        with Path(name).open("rb") as file:
            read = file.read(MAX_LIST_BYTES + 1)
    if len(read) > MAX_LIST_BYTES:
        raise MediaError("The list is larger than 1 MB.")
    for mark, encoding in _MARKS:
        if read.startswith(mark):
            return read.decode(encoding, "replace")
    try:
        return read.decode()
    except UnicodeDecodeError:
        return read.decode("cp1252", "replace")
