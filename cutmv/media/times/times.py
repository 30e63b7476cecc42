"""Read one time, or one clip."""

import re
from dataclasses import dataclass
from fractions import Fraction

from cutmv.media.errors import MediaError
from cutmv.media.times.timecode import FileTimes, Timecode, timecode_length_s, timecode_s

#: Seconds of the latest time that is accepted: far more than any video has.
MAX_TIME_S = 1_000_000
#: Characters of a text that an error shows.
MAX_SHOWN_CHARS = 80
#: What is written between two times as well as before a label.
DASHES = "-–—−"
#: What stands before a time that counts from the end.
SIGNS = "-−"

_NUMBER = r"[0-9]{1,7}(?:[.,][0-9]{1,20})?"
_UNIT = (
    r"(?:hours?|hrs?|hr|h|minutes?|mins?|milliseconds?|msecs?|ms|m|seconds?|secs?|s)(?![^\W\d_])"
)
#: Any time, roughly: what it is exactly, `parse_time` says. No group, to be part of patterns.
UNITS = rf"{_NUMBER}\s?{_UNIT}(?:\s?{_NUMBER}\s?{_UNIT})*+(?:[0-9]{{1,4}}(?![\w.,:;]))?"
CLOCK = r"[0-9]+(?:[:;][0-9]+)*(?:[.,][0-9]+)?"
START = rf"(?:[{SIGNS}]?(?:{UNITS}|{CLOCK}))"
END = rf"(?:{START}|end(?!\w))"
#: What stands between the two times of a clip.
BETWEEN = rf"(?:\s*(?:-->|->|→|\.{{2,3}}|…|\+)\s*|\s+(?:to|till|until)\s+|\s*[{DASHES}]\s*)"

_SECONDS = re.compile(_NUMBER)
_CLOCK = re.compile(r"(?:([0-9]{1,3}):)?([0-9]{1,4}):([0-5]?[0-9](?:[.,][0-9]{1,20})?)")
_PART = re.compile(rf"\s?({_NUMBER})\s?({_UNIT})", re.IGNORECASE)
_CLIP = re.compile(rf"({START})({BETWEEN})({END})", re.IGNORECASE)
#: Seconds of each unit, by how its name begins; the first that fits counts.
_SECONDS_OF = (
    (("ms", "mil"), Fraction(1, 1000)),
    (("h",), Fraction(3600)),
    (("m",), Fraction(60)),
    (("s",), Fraction(1)),
)


@dataclass(frozen=True)
class Clip:
    """The half-open interval of a source: every frame with `start` ≤ time < `end`, in seconds."""

    start: Fraction
    end: Fraction


def shown(text: str) -> str:
    """A text as an error shows it: in quotes, on one line, and short."""
    return repr(text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…")


def parse_time(text: str, file: FileTimes) -> Fraction:
    """Seconds, exactly, from the start of `file` to the time that a text names.

    That is "12.5", "MM:SS.mmm", "HH:MM:SS.mmm", "1m30s", timecode "HH:MM:SS:FF", one of these
    before the end ("-10"), or "end". A comma is a decimal point, too. Timecode counts frames at the
    nearest whole rate, as SMPTE ST 12-1 has it, from the file's own first one; with a semicolon
    before FF it is drop-frame, for rates of 30000/1001 and 60000/1001. Raises MediaError.
    """
    text = text.strip()
    if text.lower() != "end" and text[:1] not in SIGNS:
        code = Timecode.read(text)
        return _bounded(timecode_s(text, code, file) if code else _length(text, file), text)
    if text in SIGNS:
        raise _unread(text)
    before_end = Fraction(0) if text.lower() == "end" else _length(text[1:].strip(), file)
    if file.length is None:
        raise MediaError(f"The time {shown(text)} needs a video whose length is known.")
    if before_end > file.length:
        raise MediaError(
            f"The time {shown(text)} is before the video's start: it lasts"
            f" {float(file.length):.3f} s."
        )
    return file.length - before_end


class Backwards(MediaError):
    """A clip does not end after its start."""


def parse_clip(text: str, file: FileTimes) -> Clip:
    """The clip that "START-END" or "START+LENGTH" names; "to", "–" and ".." are dashes, too.

    Raises MediaError with one line that says what is wrong, Backwards where its times are in the
    wrong order.
    """
    text = text.strip()
    start, between, end = _parted(text)
    begins = parse_time(start, file)
    if between == "+":
        clip = Clip(begins, begins + _length(end, file))
    else:
        clip = Clip(begins, parse_time(end, file))
    if file.length is not None and clip.end == file.length < clip.start:
        raise MediaError(
            f"The clip {shown(text)} starts past the end of the video, {float(file.length):.3f} s."
        )
    if clip.end < clip.start:
        raise Backwards(f"The clip {shown(text)} ends before it starts.")
    if clip.end == clip.start:
        raise Backwards(f"The clip {shown(text)} is empty: its end must be after its start.")
    return clip


def _parted(text: str) -> tuple[str, str, str]:
    """The start of a clip, what stands between, and its end. Raises MediaError."""
    found = _CLIP.fullmatch(text)
    if found is None:
        # The error is about the time that is wrong, so each is looked at.
        found = re.match(rf"(.+?)({BETWEEN})(.+)", text, re.IGNORECASE | re.DOTALL)
    if found is None:
        raise MediaError(f"The clip {shown(text)} must be START-END, like 0:05-0:12.5.")
    start, between, end = found.groups()
    return start, between.strip(), end.strip()


def _length(text: str, file: FileTimes) -> Fraction:
    """Seconds of a length. Raises MediaError."""
    if _SECONDS.fullmatch(text):
        return _bounded(_decimal(text), text)
    if code := Timecode.read(text):
        return _bounded(timecode_length_s(text, code, file), text)
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds = found.groups()
        if hours is not None and int(minutes) > 59:
            raise MediaError(f"The time {text!r} has more than 59 minutes beside its hours.")
        total = int(hours or 0) * 3600 + int(minutes) * 60 + _decimal(seconds)
        return _bounded(total, text)
    total_or_none = _of_units(text)
    if total_or_none is None:
        raise _unread(text)
    return _bounded(total_or_none, text)


def _of_units(text: str) -> Fraction | None:
    """Seconds of "1h2m3.5s", "90 s", "1m30"; None when the text is nothing like that."""
    total, place, scale = Fraction(0), 0, Fraction(10_000)
    while part := _PART.match(text, place):
        unit = part[2].lower()
        seconds = next(size for names, size in _SECONDS_OF if unit.startswith(names))
        if seconds >= scale:  # the larger comes first, and none twice
            return None
        total, place, scale = total + _decimal(part[1]) * seconds, part.end(), seconds
    rest = text[place:]
    if not place or (rest and not (_SECONDS.fullmatch(rest) and scale >= 60)):
        return None
    return total + (_decimal(rest) * scale / 60 if rest else 0)


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", "."))


def _unread(text: str) -> MediaError:
    return MediaError(
        f"The time {shown(text)} is not one we read: use seconds (12.5), MM:SS.mmm or HH:MM:SS:FF."
    )


def _bounded(seconds: Fraction, text: str) -> Fraction:
    if seconds > MAX_TIME_S:
        raise MediaError(f"The time {shown(text)} is longer than any video.")
    return seconds
