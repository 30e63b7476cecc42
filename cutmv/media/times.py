"""Parse the times and clips that people write."""

import re
from dataclasses import dataclass
from fractions import Fraction

from cutmv.media.errors import MediaError

#: Seconds of the latest time that is accepted: far more than any video has.
MAX_TIME_S = 1_000_000

_SECONDS = re.compile(r"^\d{1,7}(?:\.\d{1,9})?$")
_CLOCK = re.compile(r"^(?:(\d{1,3}):)?(\d{1,4}):([0-5]\d(?:\.\d{1,9})?|\d(?:\.\d{1,9})?)$")
_TIMECODE = re.compile(r"^(\d{1,3}):([0-5]\d):([0-5]\d)([:;])(\d{2,3})$")


@dataclass(frozen=True)
class Clip:
    """The half-open interval of a source: every frame with `start` ≤ time < `end`, in seconds."""

    start: Fraction
    end: Fraction


def parse_time(text: str, frame_rate: Fraction | None) -> Fraction:
    """Seconds, exactly, of "SECONDS", "MM:SS.mmm", "HH:MM:SS.mmm" or timecode "HH:MM:SS:FF".

    Timecode counts frames at the nearest whole rate, as SMPTE ST 12-1 has it; with a semicolon
    before FF it is drop-frame, for rates of 30000/1001 and 60000/1001. Raises MediaError.
    """
    text = text.strip()
    if _SECONDS.match(text):
        return _bounded(Fraction(text), text)
    if found := _CLOCK.match(text):
        hours, minutes, seconds = found.groups()
        if hours is not None and int(minutes) > 59:
            raise MediaError(f"The time {text!r} has more than 59 minutes beside its hours.")
        total = int(hours or 0) * 3600 + int(minutes) * 60 + Fraction(seconds)
        return _bounded(total, text)
    if found := _TIMECODE.match(text):
        return _bounded(_timecode(text, found, frame_rate), text)
    raise MediaError(
        f"The time {text!r} is not one we read: use seconds (12.5), MM:SS.mmm or HH:MM:SS:FF."
    )


def parse_clip(text: str, frame_rate: Fraction | None) -> Clip:
    """The clip that "START-END" names. Raises MediaError with one line that says what is wrong."""
    start, dash, end = text.strip().partition("-")
    if not dash or not start.strip() or not end.strip():
        raise MediaError(f"The clip {text!r} must be START-END, like 0:05-0:12.5.")
    clip = Clip(parse_time(start, frame_rate), parse_time(end, frame_rate))
    if clip.end < clip.start:
        raise MediaError(f"The clip {text!r} ends before it starts.")
    if clip.end == clip.start:
        raise MediaError(f"The clip {text!r} is empty: its end must be after its start.")
    return clip


def _timecode(text: str, found: re.Match[str], frame_rate: Fraction | None) -> Fraction:
    if frame_rate is None:
        raise MediaError(f"The timecode {text!r} needs a video with a frame rate.")
    hours, minutes, seconds, separator, frame = found.groups()
    nominal = round(frame_rate)
    if int(frame) >= nominal:
        raise MediaError(f"The timecode {text!r} has a frame past {nominal - 1}, a second's last.")
    whole_minutes = int(hours) * 60 + int(minutes)
    frames = (whole_minutes * 60 + int(seconds)) * nominal + int(frame)
    if separator == ";":
        if frame_rate.denominator != 1001 or nominal % 30:
            raise MediaError(f"The timecode {text!r} is drop-frame, and the video is not at 29.97.")
        # The first numbers of each minute are left out, but of each tenth minute.
        frames -= nominal // 15 * (whole_minutes - whole_minutes // 10)
    return frames / frame_rate


def _bounded(seconds: Fraction, text: str) -> Fraction:
    if seconds > MAX_TIME_S:
        raise MediaError(f"The time {text!r} is longer than any video.")
    return seconds
