"""Why a step failed, in words of people who make music: what happened, and what they can do. Pure.

A step's `error` is one line for whoever runs CUTMV. Most of these lines say enough to anybody; the
others are known here by a few words of theirs.
"""

import re
from dataclasses import asdict, dataclass

#: What is said where the line says nothing to most people.
UNKNOWN = "This result could not be made."
_ASK = "Run it again. If it fails once more, send the technical part to whoever runs this server."
_EXPORT = "Export the video again from your editor, as MP4 with H.264, and upload that."
_SHORTER = "Make the clip shorter, or ask for a smaller shape."

#: Words of a line, what happened, and what to do.
_KNOWN = (
    (
        r"is cut short|has no length",
        "The video is not complete: its end is missing.",
        "Copy or export it again, and upload the whole file.",
    ),
    (
        r"no longer kept|was replaced|no longer in the storage",
        "The video is not here any more.",
        "Upload it again, and cut it anew.",
    ),
    (
        r"codec is not supported|Decoder \(codec|no video we can read|crashed on it",
        "The video is in a format that we can't read.",
        _EXPORT,
    ),
    (
        r"is damaged|Invalid data|Error while decoding|corrupt",
        "The video is damaged where this clip is.",
        f"See whether it plays there. {_EXPORT}",
    ),
    (
        r"no picture and no sound|has no picture|only picture is its cover",
        "The file has no picture.",
        "Upload a video, or ask for the sound alone.",
    ),
    (
        r"has no sound|no sound track",
        "The video has not the sound that was asked for.",
        "Ask for other sound tracks, or for none.",
    ),
    (
        r"can't be copied exactly",
        "This clip can't be an exact copy of the video.",
        "Choose exact copies “where they can be”, and cut it again.",
    ),
    (
        r"time limit|processor time|took far longer",
        "It took far too long, and was stopped.",
        _SHORTER,
    ),
    (r"needs more memory|result is larger", "The result would be too large.", _SHORTER),
    (
        r"starts: each ended",
        "Whatever machine made it stopped in the middle, again and again.",
        _ASK,
    ),
    (
        r"tries: .*(storage|can't be read|connection|timed out|does not answer)",
        "The video could not be fetched, or the result not stored, though it was tried repeatedly.",
        "Run it again in a while.",
    ),
)
#: What shows that a line is not for everybody.
_TECHNICAL = re.compile(
    r"FFmpeg|CUTMV_|[Gg]iven up|worker|The row of|can't be cut|unexpected|errno|0x|\[|Error\b"
)


@dataclass(frozen=True)
class Failure:
    """What is said of a failure, and what to do about it, where there is something."""

    said: str
    advice: str | None

    @classmethod
    def of(cls, error: str) -> "Failure":
        """The failure that a step's error tells.

        >>> Failure.of("The file is damaged, or is not a video.").said
        'The video is damaged where this clip is.'
        """
        for words, said, advice in _KNOWN:
            if re.search(words, error):
                return cls(said, advice)
        return cls(UNKNOWN, _ASK) if _TECHNICAL.search(error) else cls(error, None)

    def to_json(self) -> dict[str, str | None]:
        """As the HTTP API and the WebSocket show it."""
        return asdict(self)
