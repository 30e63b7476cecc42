"""What can go wrong with a video, by what the caller should do about it.

Exception
├── MediaError           the file, the clip or the result is wrong: a retry won't help
│   └── RenderTimeout    FFmpeg took longer than its time limit
├── MediaUnavailable     the network or the machine failed: a retry may help
└── Cancelled            the caller asked to stop
"""

import re

#: Characters of FFmpeg's own words that an error line may carry: enough for one sentence.
MAX_DETAIL_CHARS = 200

#: What FFmpeg says, and what that means for the person who sent the file.
_MEANINGS = (
    ("moov atom not found", "the file is cut short: its index is missing; send the whole file"),
    ("does not contain any stream", "the file has no picture and no sound"),
    ("Invalid data found when processing input", "the file is damaged, or is not a video"),
    ("Cannot allocate memory", "the video needs more memory than a cut may use"),
    ("File too large", "the result is larger than a cut may be; use a shorter clip"),
    ("Decoder (codec none) not found", "the video's codec is not supported; convert it to H.264"),
    ("Invalid argument", "the file is damaged in a way that FFmpeg can't handle"),
)

#: FFmpeg's words for failures that are not the file's fault.
_PASSING = re.compile(
    r"Connection (?:refused|reset|timed out)|Network is unreachable|No route to host"
    r"|Failed to resolve hostname|Temporary failure|Server returned|HTTP error"
    r"|Input/output error|Stream ends prematurely|error in the pull function|TLS|handshake"
    r"|No space left on device|Disk quota exceeded|Resource temporarily unavailable",
    re.IGNORECASE,
)

_URL = re.compile(r"\w+://\S+")
_CONTEXT = re.compile(r"^(?:\[[^\]]*\]\s*)+")


class MediaError(Exception):
    """The input or the result is wrong; trying again won't change that. One line for people."""


class RenderTimeout(MediaError):
    """FFmpeg exceeded its time limit and was ended."""


class MediaUnavailable(Exception):
    """The network or the machine failed, not the file; trying again may help. One line."""


class Cancelled(Exception):
    """The caller's `cancelled` said so; FFmpeg has ended and nothing was left behind."""


def explain(what: str, stderr: str, source: str) -> MediaError | MediaUnavailable:
    """Turn FFmpeg's standard error into one clear line that names no path, URL or secret."""
    text = stderr.replace(source, "the file")
    if _PASSING.search(text):
        return MediaUnavailable(f"{what}: {_last_line(text) or 'the connection failed'}")
    for words, meaning in _MEANINGS:
        if words in text:
            return MediaError(f"{what}: {meaning}.")
    return MediaError(f"{what}: {_last_line(text) or 'FFmpeg gave no reason'}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = _URL.sub("the file", _CONTEXT.sub("", lines[-1]))
    return line[:MAX_DETAIL_CHARS]
