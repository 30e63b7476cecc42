"""Read lists of clips from files and from standard input, in whatever encoding they come."""

import codecs
import sys
from collections.abc import Sequence
from pathlib import Path

from cutmv.jobs import clips_of
from cutmv.media import FileTimes, LabelledClip, MediaError, parse_clip_list

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
