"""The times, clips and lists of clips that people write, or paste from other programs. Pure.

`timecode` counts frames, `times` reads one time or one clip. `lists` finds out what a list is:
`lines` with labels or chapters, a `table` (CSV), an edit decision list (`edl`). Each gives clips as
text, which `times` reads, so that an error names the line.
"""

from cutmv.media.times.lists import LabelledClip, parse_clip_list, parse_labelled_clip
from cutmv.media.times.timecode import FileTimes, is_timecode
from cutmv.media.times.times import Clip, parse_clip, parse_time

__all__ = [
    "Clip",
    "FileTimes",
    "LabelledClip",
    "is_timecode",
    "parse_clip",
    "parse_clip_list",
    "parse_labelled_clip",
    "parse_time",
]
