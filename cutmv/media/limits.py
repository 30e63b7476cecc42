"""What a file may have at most to be read: a small one can claim more than a machine can do.

The environment sets it, for a child that reads files as well as for its parent.
"""

import os
from dataclasses import dataclass
from typing import Self

from cutmv.media.errors import MediaUnavailable

#: Seconds of a video: a day.
SECONDS = 24 * 3600
#: Packets of a stream of which all are noted: a day of AAC, or of 55 pictures a second. A note of
#: one takes 250 bytes.
PACKETS = 5_000_000
#: Streams: MPEG-TS of a whole multiplex has fewer.
STREAMS = 100
#: Pixels of a picture: those of 16K, 15,360 × 8,640.
PIXELS = 15_360 * 8_640
#: Bytes of memory of a child that cuts: 8K pictures and their references fit. And of one that
#: looks, which needs no more than this part of it.
MEMORY_BYTES, OF_A_LOOK = 12 * 2**30, 3

#: Digits of a number.
MAX_DIGITS = 19


@dataclass(frozen=True)
class FileLimits:
    """What a file may have, and the `memory_bytes` that a child may use to cut it."""

    seconds: int = SECONDS
    packets: int = PACKETS
    streams: int = STREAMS
    pixels: int = PIXELS
    memory_bytes: int = MEMORY_BYTES

    @classmethod
    def of_environment(cls) -> Self:
        """The limits that the environment sets. Raises MediaUnavailable where one is no number."""
        return cls(
            seconds=_number(os.environ, "CUTMV_MAX_FILE_SECONDS", SECONDS),
            packets=_number(os.environ, "CUTMV_MAX_FILE_PACKETS", PACKETS),
            streams=_number(os.environ, "CUTMV_MAX_FILE_STREAMS", STREAMS),
            pixels=_number(os.environ, "CUTMV_MAX_FILE_PIXELS", PIXELS),
            memory_bytes=_number(os.environ, "CUTMV_MAX_CHILD_BYTES", MEMORY_BYTES),
        )


def _number(environ: "os._Environ[str]", name: str, default: int) -> int:
    value = environ.get(name)
    if not value:
        return default
    if not value.isdecimal() or len(value) > MAX_DIGITS or int(value) == 0:
        told = f"{value[:MAX_DIGITS]}…" if len(value) > MAX_DIGITS else value
        raise MediaUnavailable(f"{name} is {told!r}: use a whole number above 0.")
    return int(value)
