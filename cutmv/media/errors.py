"""The errors of this package, by what the caller should do about them.

Exception
├── MediaError           the file, the clip or the result is wrong: a retry won't help
│   ├── RenderTimeout    FFmpeg took longer than its time limit
│   └── Unjoinable       the parts of a shared render are not those of one film
├── MediaUnavailable     the network or the machine failed: a retry may help
│   ├── SourceUnavailable  the storage did not give the video: it will once it is back
│   └── NoRoom           the machine has no room to work in: the same works once it has
└── Cancelled            the caller asked to stop
"""

import errno
import os
import re
import signal

#: Characters of FFmpeg's own message that an error shows: enough for one sentence.
MAX_DETAIL_CHARS = 200

#: How an error begins, by what was tried.
PROBE_FAILED = "The video can't be read"
CUT_FAILED = "The clip can't be cut"
#: How the refusal of an exact copy begins, as which a clip was asked for.
COPY_FAILED = "The clip can't be copied exactly"

#: FFmpeg's messages, and what each means for the person who sent the file.
_MEANINGS = (
    ("moov atom not found", "the file is cut short: its index is missing; send the whole file"),
    ("does not contain any stream", "the file has no picture and no sound"),
    ("Invalid data found when processing input", "the file is damaged, or is not a video"),
    (
        "exceeds max_streams parameter",
        "it has more streams than CUTMV_MAX_FILE_STREAMS",
    ),
    ("Cannot allocate memory", "the video needs more memory than a cut may use"),
    ("File too large", "the result is larger than a cut may be; use a shorter clip"),
    ("Decoder (codec none) not found", "the video's codec is not supported; convert it to H.264"),
    ("Invalid argument", "the file is damaged in a way that FFmpeg can't handle"),
)

#: The errors of the system for a machine that is full: its disk, a quota, its files or processes.
NO_ROOM_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
)
#: FFmpeg's messages for them. What it says of memory is about the limit of a cut.
_NO_ROOM = re.compile(
    "|".join(re.escape(os.strerror(each)) for each in NO_ROOM_ERRNOS if each != errno.ENOMEM)
)
#: FFmpeg's messages for other failures that are not the file's fault.
_PASSING = re.compile(
    r"Input/output error|Stream ends prematurely|Server returned|Connection timed out"
)
#: Signals by which the machine, or its administrator, ends a program that did nothing wrong.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_URL = re.compile(r"\w+://\S+")
_CONTEXT = re.compile(r"^(?:\[[^\]]*\]\s*)+")


class MediaError(Exception):
    """The input or the result is wrong; trying again won't change that. One line for people."""


class RenderTimeout(MediaError):
    """FFmpeg exceeded its time limit and was ended."""


class Unjoinable(MediaError):
    """The parts of a shared render can't be joined; the film can be made in one piece."""


class MediaUnavailable(Exception):
    """The network or the machine failed, not the file; trying again may help. One line."""


class SourceUnavailable(MediaUnavailable):
    """The storage, which has the video, does not answer; the same works once it is back."""


class NoRoom(MediaUnavailable):
    """The machine has no room for files or processes; the same works once it has."""


def no_room(error: BaseException) -> bool:
    """Whether an error says that the machine is full."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM_ERRNOS
    # Python says no more when it can start no thread.
    return isinstance(error, NoRoom) or str(error) == "can't start new thread"


class Cancelled(Exception):
    """The caller's `cancelled` said so; FFmpeg has ended and nothing was left behind."""


def explain(what: str, code: int, stderr: str, source: str) -> MediaError | MediaUnavailable:
    """Turn FFmpeg's end into one clear line that names no path, URL or secret.

    `code` is its exit code, or the number of the signal that ended it, negative.
    """
    if code < 0:
        return _explain_signal(what, signal.Signals(-code))
    text = stderr.replace(source, "the file")
    if _NO_ROOM.search(text):
        return NoRoom(f"{what}: {_last_line(text)}")
    if _PASSING.search(text):
        return MediaUnavailable(f"{what}: {_last_line(text)}")
    for words, meaning in _MEANINGS:
        if words in text:
            return MediaError(f"{what}: {meaning}.")
    return MediaError(f"{what}: {_last_line(text) or 'FFmpeg gave no reason'}")


def _explain_signal(what: str, number: signal.Signals) -> MediaError | MediaUnavailable:
    if number in _FROM_OUTSIDE:
        return MediaUnavailable(f"{what}: FFmpeg was ended from outside ({number.name}).")
    if number == signal.SIGXCPU:
        return RenderTimeout(f"{what}: FFmpeg used all the processor time that a cut may use.")
    return MediaError(
        f"{what}: FFmpeg crashed on it ({number.name}); convert it to MP4 with H.264,"
        " or set CUTMV_FFMPEG to a newer build."
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = _URL.sub("the file", _CONTEXT.sub("", lines[-1]))
    return line[:MAX_DETAIL_CHARS]
