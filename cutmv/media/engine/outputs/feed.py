"""Gives the pictures of a clip to an FFmpeg program, which filters and encodes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
from av.video.frame import PictureType, VideoFrame

from cutmv.media.engine.source.file import SourceError

#: Pixel formats that the pipe carries as they are; others become the first, or one of their kind.
CARRIED = frozenset({
    "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le",
    "yuv422p12le", "yuv444p12le", "yuva420p", "yuva444p", "yuva444p10le", "gbrp", "gray",
    "rgb24", "bgr24", "rgba",
})  # fmt: skip
#: Bytes of a program's complaints that are kept, the latest.
LONGEST = 4000
#: Full-range formats are these with another range.
FULL_RANGE = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}


@dataclass(frozen=True, slots=True)
class Target:
    """One output of a program: what is done to the pictures, and how they are encoded."""

    path: Path
    filters: str
    arguments: Sequence[str]


class ProgramFailed(Exception):
    """FFmpeg ended with an error; the message is the end of what it said."""


def run(
    program: str,
    targets: Sequence[Target],
    frames: Iterable[VideoFrame],
    tick: Fraction,
    *,
    threads: int | None,
    fed: Callable[[int], None],
) -> str:
    """Run `program` on `frames`, whose times are ticks from the clip's start.

    `fed` is called with the number of pictures given so far. Returns what the program complained
    about, if it did: of a full disk it says so and ends as if all were well. Raises ProgramFailed.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise SourceError("The clip has no picture that can be decoded.")
    shape = _Shape.of(first)
    argv = [program, "-hide_banner", "-nostdin", "-v", "error", "-y"]
    argv += ["-protocol_whitelist", "pipe,file", "-f", "nut", "-i", "pipe:0"]
    argv += _graph(targets)
    for number, target in enumerate(targets):
        argv += ["-map", f"[v{number}]", "-map_metadata", "-1", *target.arguments]
        argv += ["-threads", str(threads)] if threads else []
        argv += [f"file:{target.path}"]
    # A file and no pipe: nobody reads while pictures are written.
    with tempfile.TemporaryFile() as said, _started(argv, said) as child:
        stdin: Any = child.stdin
        count = 0
        try:
            with av.open(_Pipe(stdin), "w", format="nut") as out:
                track: Any = out.add_stream("rawvideo", rate=25)
                track.width, track.height = shape.width, shape.height
                track.pix_fmt = shape.pixels
                track.time_base = track.codec_context.time_base = tick
                for frame in _all(first, frames):
                    carried = shape.fitted(frame)
                    carried.pts, carried.time_base = frame.pts, tick
                    carried.pict_type = PictureType.NONE
                    out.mux(track.encode(carried))
                    count += 1
                    fed(count)
                out.mux(track.encode(None))
        except (BrokenPipeError, av.FFmpegError, OSError):
            pass  # the program says why it ended
        finally:
            _close(stdin)
        return _end(child, said)


def _all(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest


@dataclass(frozen=True, slots=True)
class _Shape:
    """The size and pixel format that the pipe carries, whatever comes later."""

    width: int
    height: int
    pixels: str

    @classmethod
    def of(cls, frame: VideoFrame) -> _Shape:
        name = FULL_RANGE.get(frame.format.name, frame.format.name)
        deep = any(component.bits > 8 for component in frame.format.components)
        alpha = any(component.is_alpha for component in frame.format.components)
        if name not in CARRIED and alpha:
            name = "yuva444p10le" if deep else "rgba" if frame.format.is_rgb else "yuva444p"
        elif name not in CARRIED:
            name = "yuv444p10le" if deep else "yuv444p" if frame.format.is_rgb else "yuv420p"
        return cls(frame.width, frame.height, name)

    def fitted(self, frame: VideoFrame) -> VideoFrame:
        if (frame.width, frame.height) == (self.width, self.height) and (
            FULL_RANGE.get(frame.format.name, frame.format.name) == self.pixels
        ):
            return frame
        return frame.reformat(self.width, self.height, self.pixels)


def _graph(targets: Sequence[Target]) -> list[str]:
    split = "".join(f"[s{number}]" for number in range(len(targets)))
    parts = [f"[0:v]split={len(targets)}{split}"]
    for number, target in enumerate(targets):
        # Labels are those of one graph, and each target has named its own.
        filters = re.sub(r"\[(\w+)\]", rf"[\1_{number}]", target.filters)
        parts.append(f"[s{number}]{filters}[v{number}]")
    return ["-filter_complex", ";".join(parts)]


class _Pipe:
    """A file that PyAV may only write to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)


def _started(argv: list[str], said: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _ended_with_us(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        bufsize=0,
    )


def _end(child: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    """Wait for the program's end; return what it said. Raises ProgramFailed."""
    code = child.wait()
    said.seek(max(0, said.seek(0, os.SEEK_END) - LONGEST))
    text = said.read().decode("utf-8", "replace")
    if code != 0:
        raise ProgramFailed(text)
    return text


def _ended_with_us(argv: list[str]) -> list[str]:
    """The command line of a program that the kernel ends should this process be killed.

    It has the limits that this process has.
    """
    unlimited = str(2**63 - 1)
    sandbox = str(Path(__file__).parents[2] / "running" / "sandbox.py")
    return [sys.executable, "-I", "-S", sandbox, str(os.getpid()), *[unlimited] * 3, *argv]


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):
        file.close()
