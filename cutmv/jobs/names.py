"""Names of uploads, and of outputs: safe on every file system, and none twice in a job."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath, PurePosixPath

from cutmv.media import MediaInfo, OutputSpec, output_extension

#: Bytes of the source's name, and of a label, that an output's name has: file systems take 255 in
#: all, and what is made beside an output has a longer name.
MAX_PART_BYTES = 100

#: Characters of the name of an upload that are kept.
MAX_NAME_CHARS = 200

_UNSAFE = re.compile(r"[^\w.-]+")


def clean_name(name: str) -> str:
    """The last part of a path as a name to show, without control characters."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(character for character in last if character.isprintable()).strip()
    return kept[:MAX_NAME_CHARS] or "video"


def clip_stems(source_name: str, labels: Sequence[str]) -> list[str]:
    """How the names of each clip's outputs begin, for its label: `song-Chorus`, or `song-02`.

    A label that is there already, in small or capital letters, gets a number.
    """
    source = _safe(PurePath(source_name).stem) or "video"
    stems: list[str] = []
    taken: set[str] = set()
    for number, label in enumerate(labels, start=1):
        stem = wanted = f"{source}-{_safe(label) or f'{number:02d}'}"
        copy = 1
        while stem.casefold() in taken:
            copy += 1
            stem = f"{wanted}-{copy}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def output_name(stem: str, spec: OutputSpec, info: MediaInfo) -> str:
    """A file name of an output of a source, like `song-02-9x16.mp4`."""
    shape = spec.named.replace(":", "x")
    return f"{stem}-{shape}.{output_extension(info, spec)}"


def _safe(text: str) -> str:
    """A text as a part of a file name, cut by bytes between two characters; perhaps empty."""
    # Some systems take an accent apart from its letter, and see both ways as one name.
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", text)).strip("._-")
    return safe.encode()[:MAX_PART_BYTES].decode(errors="ignore").rstrip("._-")
