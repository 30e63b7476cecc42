"""Gives the pictures of a clip to an FFmpeg program, which filters and encodes them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Thread
from typing import IO, Any, Self, cast

import av
from av.video.frame import PictureType, VideoFrame

from cutmv.media.engine.source.file import SourceError
from cutmv.media.sandbox.access import UNBOUNDED, Access, command

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


class Program:
    """FFmpeg, which filters the pictures that it is given, and encodes them, while a block runs.

    The pictures' times are ticks from the clip's start, the first `lead` before it. `fed` is called
    with the number of pictures given so far.
    """

    def __init__(
        self,
        program: str,
        targets: Sequence[Target],
        tick: Fraction,
        *,
        threads: int | None,
        fed: Callable[[int], None],
        lead: int = 0,
    ) -> None:
        self._argv = [program, "-hide_banner", "-nostdin", "-v", "error", "-y"]
        self._argv += ["-protocol_whitelist", "pipe", "-codec_whitelist", "rawvideo"]
        self._argv += ["-f", "nut", "-i", "pipe:0"]
        self._argv += _graph(targets, lead * tick)
        for number, target in enumerate(targets):
            self._argv += ["-map", f"[v{number}]", "-map_metadata", "-1", *target.arguments]
            self._argv += ["-threads", str(threads)] if threads else []
            self._argv += [f"file:{target.path}"]
        self._folders = [each.path.parent for each in targets]
        self._tick, self._lead, self._fed, self._count = tick, lead, fed, 0
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._running:
            self._running.kill()

    @property
    def ended(self) -> bool:
        """Whether it has ended: since it gets no more, or by itself."""
        return self._running is not None and self._running.child.poll() is not None

    def give(self, frame: VideoFrame) -> None:
        """Give it a picture; where it has ended, its end tells why."""
        if self._running is None:
            self._running = _Running(self._argv, self._folders, _Shape.of(frame), self._tick)
        # A pipe carries no time before zero.
        self._running.give(frame, (frame.pts or 0) + self._lead)
        self._count += 1
        self._fed(self._count)

    def finish(self) -> None:
        """Let it write what is left, and end: it gets no more."""
        if self._running:
            self._running.finish()

    def complaints(self) -> str:
        """Wait for its end; return what it complained about, if it did.

        Of a full disk it says so and ends as if all were well. Raises ProgramFailed, SourceError.
        """
        if self._running is None:
            raise SourceError("The clip has no picture that can be decoded.")
        code, text = self._running.end()
        if code != 0:
            raise ProgramFailed(text)
        return text


class _Running:
    """A program that runs, and the pipe to it."""

    def __init__(
        self, argv: list[str], folders: Sequence[Path], shape: _Shape, tick: Fraction
    ) -> None:
        self._shape, self._tick = shape, tick
        self.child = _started(argv, folders)
        self._said = _Said(cast(IO[bytes], self.child.stderr))
        self._stdin = cast(IO[bytes], self.child.stdin)
        self._pipe: Any = av.open(_Pipe(self._stdin), "w", format="nut")
        self._track: Any = self._pipe.add_stream("rawvideo", rate=25)
        self._track.width, self._track.height = shape.width, shape.height
        self._track.pix_fmt = shape.pixels
        self._track.time_base = self._track.codec_context.time_base = tick

    def give(self, frame: VideoFrame, at: int) -> None:
        if self._pipe is None:
            return  # it gets no more, though a damaged file's clock went back
        carried = self._shape.fitted(frame)
        carried.pts, carried.time_base = at, self._tick
        carried.pict_type = PictureType.NONE
        with suppress(av.FFmpegError, OSError):
            self._pipe.mux(self._track.encode(carried))

    def finish(self) -> None:
        if self._pipe is None:
            return
        with suppress(av.FFmpegError, OSError):
            self._pipe.mux(self._track.encode(None))
        with suppress(av.FFmpegError, OSError):
            self._pipe.close()
        self._pipe = None
        with suppress(OSError):
            self._stdin.close()

    def end(self) -> tuple[int, str]:
        self.finish()
        return self.child.wait(), self._said.all()

    def kill(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.finish()
        self.child.wait()
        self._said.all()


class _Said:
    """The end of what a program says, read while it does: a file may find no room."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._latest = pipe, b""
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def all(self) -> str:
        """All of it, once the program has ended."""
        self._thread.join()
        return self._latest.decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while data := self._pipe.read(LONGEST):
                self._latest = (self._latest + data)[-LONGEST:]


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


def _graph(targets: Sequence[Target], lead_s: Fraction) -> list[str]:
    split = "".join(f"[s{number}]" for number in range(len(targets)))
    # The program counts in ticks of its own.
    led = f"setpts=round(PTS-{lead_s}/TB)," if lead_s else ""
    parts = [f"[0:v]{led}split={len(targets)}{split}"]
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


def _started(argv: list[str], folders: Sequence[Path]) -> subprocess.Popen[bytes]:
    """Start a program that writes to `folders`, and reads nothing but its standard input.

    The kernel ends it should this process be killed. It has the limits that this process has, and
    more memory where this may give it. It writes nothing to its standard output, which is our
    standard error: who started us sees by its end that all of us have ended.
    """
    # What this process may not use itself it can't give.
    access = Access(writes=tuple(map(str, folders)), graphics=True)
    return subprocess.Popen(
        command(argv, access, memory_bytes=UNBOUNDED),
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
