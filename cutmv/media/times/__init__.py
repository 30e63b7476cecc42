"""The times, clips and lists of clips that people write, or paste from other programs. Pure.

`timecode` counts frames, `times` reads one time or one clip. `lists` finds out what a list is:
`lines` with labels or chapters, a `table` (CSV), an edit decision list (`edl`). Each gives clips as
text, which `times` reads, so that an error names the line.
"""

from cutmv.media.times.entry import WrongLine
from cutmv.media.times.lists import (
    LabelledClip,
    parse_clip_list,
    parse_labelled_clip,
    read_clip_list,
)
from cutmv.media.times.timecode import FileTimes, is_timecode
from cutmv.media.times.times import Clip, parse_clip, parse_time

__all__ = [
    "Clip",
    "FileTimes",
    "LabelledClip",
    "WrongLine",
    "is_timecode",
    "parse_clip",
    "parse_clip_list",
    "parse_labelled_clip",
    "parse_time",
    "read_clip_list",
]
