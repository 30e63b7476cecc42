"""What has become of a request's outputs so far: one that fails voids no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av

from cutmv.media.engine.codecs import Uncopyable
from cutmv.media.engine.outputs.feed import ProgramFailed
from cutmv.media.engine.outputs.joining import Unjoinable
from cutmv.media.engine.protocol import Failed, Made, Output, Report
from cutmv.media.engine.source.file import SourceError, Undecoded, Unopened

#: What an output may fail by. Pictures that can't be decoded may be from an earlier entry.
FAILURES = (
    SourceError,
    Unjoinable,
    Uncopyable,
    ProgramFailed,
    Unopened,
    av.FFmpegError,
    OSError,
    ValueError,
)


#: Called with an output, its pictures made so far, and how many there will be.
Progressed = Callable[[Output, int, int], None]


class Results:
    """The outputs of a request: made, failed, or left to make; `progressed` is told how far."""

    def __init__(self, outputs: tuple[Output, ...], progressed: Progressed) -> None:
        self._outputs, self.progressed = outputs, progressed
        self._made: dict[str, Made] = {}
        self._failed: dict[str, Failed] = {}

    @property
    def left(self) -> list[Output]:
        """Those that are neither made nor failed."""
        return [
            each
            for each in self._outputs
            if each.path not in self._made and each.path not in self._failed
        ]

    def put(self, made: Made) -> None:
        """Note that an output is made."""
        self._made[made.path] = made

    def fail(self, output: Output, error: Exception) -> None:
        """Note why an output can't be made."""
        self._failed[output.path] = failed(output.path, error)

    @contextmanager
    def trying(self, output: Output) -> Iterator[None]:
        """Have an output fail by the block's error, and go on. Raises Undecoded."""
        try:
            yield
        except Undecoded:
            raise
        except FAILURES as error:
            self.fail(output, error)

    def report(self, warnings: list[str], seconds: dict[str, float]) -> Report:
        """Return what became of all, what is to be told of the source, each stage's seconds."""
        paths = [each.path for each in self._outputs]
        return Report(
            tuple(self._made[path] for path in paths if path in self._made),
            tuple(self._failed[path] for path in paths if path in self._failed),
            tuple(dict.fromkeys(warnings)),
            seconds,
        )


def failed(path: str, error: Exception) -> Failed:
    """Return why an output failed, for the parent, which explains it to people."""
    if isinstance(error, SourceError):
        return Failed(path, "source", str(error))
    if isinstance(error, Unjoinable):
        return Failed(path, "unjoinable", str(error))
    if isinstance(error, Uncopyable):
        return Failed(path, "uncopyable", str(error))
    if isinstance(error, av.FFmpegError | OSError):
        return Failed(path, "libraries", f"{error.strerror}")
    return Failed(path, "libraries" if isinstance(error, Unopened) else "program", str(error))
