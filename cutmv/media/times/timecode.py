"""Timecode: frames counted as SMPTE ST 12-1 has it, from zero or from a file's own start."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from cutmv.media.errors import MediaError

#: Seconds past its end at which a timecode is none of a file's; what is closer is a clip's matter.
PAST_END_S = 1
#: The minutes after which timecode begins again.
DAY_MINUTES = 24 * 60

# Some programs write drop-frame timecode with semicolons alone.
_TIMECODE = re.compile(r"([0-9]{1,3})[:;]([0-5][0-9])[:;]([0-5][0-9])([:;])([0-9]{2,3})")


@dataclass(frozen=True)
class FileTimes:
    """What the times of a file are told by: its length (s), its frames a second, its timecode.

    `timecode` is that of its first frame. Each is None where it is not known, or there is none.
    """

    length: Fraction | None = None
    frame_rate: Fraction | None = None
    timecode: str | None = None


@dataclass(frozen=True)
class Timecode:
    """A timecode: whole minutes, seconds and frames. `drop` says that it is drop-frame."""

    minutes: int
    seconds: int
    frame: int
    drop: bool

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The timecode that a text is; None when it is none."""
        found = _TIMECODE.fullmatch(text)
        if found is None:
            return None
        hours, minutes, seconds, separator, frame = found.groups()
        return cls(int(hours) * 60 + int(minutes), int(seconds), int(frame), separator == ";")

    def frames(self, nominal: int, *, drop: bool) -> int:
        """The frames before this one, at `nominal` a second."""
        frame = self.frame
        if not drop:
            return (self.minutes * 60 + self.seconds) * nominal + frame
        # The first numbers of each minute are left out, but of each tenth minute.
        left_out = nominal // 15
        if self.minutes % 10 and not self.seconds:
            frame = max(frame, left_out)
        skipped = left_out * (self.minutes - self.minutes // 10)
        return (self.minutes * 60 + self.seconds) * nominal + frame - skipped


def is_timecode(text: str, frame_rate: Fraction) -> bool:
    """Whether a text is a timecode that a file of this rate can start with."""
    code = Timecode.read(text)
    if code is None or code.minutes >= DAY_MINUTES or code.frame >= round(frame_rate):
        return False
    return _drops(frame_rate) or not code.drop


def timecode_s(text: str, code: Timecode, file: FileTimes) -> Fraction:
    """Seconds from a file's start to the frame of a timecode. Raises MediaError.

    A file that has timecode of its own starts with it, and says whether it is drop-frame; another
    starts at zero.
    """
    rate, nominal = _rate(text, code, file)
    first = Timecode.read(file.timecode or "")
    zero, drop = 0, code.drop
    if first is not None:
        zero = first.frames(nominal, drop=first.drop)
        if zero and code.drop and not first.drop:
            raise MediaError(
                f"The timecode {text!r} is drop-frame, and the file's, {file.timecode}, is not."
            )
        drop = code.drop or first.drop
    seconds = (code.frames(nominal, drop=drop) - zero) / rate
    starts = f"the file starts at {file.timecode or '00:00:00:00'}"
    if seconds < 0 and file.length is not None:  # it may go on after midnight
        day = Timecode(DAY_MINUTES, 0, 0, drop).frames(nominal, drop=drop) / rate
        seconds = seconds + day if seconds + day <= file.length else seconds
    if seconds < 0:
        raise MediaError(f"The timecode {text!r} is not in the video: {starts}.")
    if file.length is not None and seconds > file.length + PAST_END_S:
        raise MediaError(
            f"The timecode {text!r} is past the end of the video: {starts} and lasts"
            f" {float(file.length):.3f} s."
        )
    return seconds


def timecode_length_s(text: str, code: Timecode, file: FileTimes) -> Fraction:
    """Seconds of a length that is written as timecode. Raises MediaError."""
    rate, nominal = _rate(text, code, file)
    return code.frames(nominal, drop=code.drop) / rate


def _rate(text: str, code: Timecode, file: FileTimes) -> tuple[Fraction, int]:
    """A file's frames a second, and the whole number of them that timecode counts."""
    rate = file.frame_rate
    if rate is None:
        raise MediaError(f"The timecode {text!r} needs a video with a frame rate.")
    nominal = round(rate)
    if code.frame >= nominal:
        raise MediaError(f"The timecode {text!r} has a frame past {nominal - 1}, a second's last.")
    if code.drop and not _drops(rate):
        raise MediaError(f"The timecode {text!r} is drop-frame, and the video is not at 29.97.")
    return rate, nominal


def _drops(rate: Fraction) -> bool:
    """Whether there is drop-frame timecode at this rate: 30000/1001, 60000/1001."""
    return rate.denominator == 1001 and round(rate) % 30 == 0
