"""What has become of a request's outputs so far: one that fails voids no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import av

from cutmv.media.engine.codecs import Uncopyable
from cutmv.media.engine.outputs.feed import ProgramFailed
from cutmv.media.engine.outputs.joining import Unjoinable
from cutmv.media.engine.protocol import Failed, Made, Output, Request
from cutmv.media.engine.source.file import SourceError, Undecoded, Unopened
from cutmv.media.engine.source.reader import Total
from cutmv.media.engine.stages import Stages

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
#: Called with what became of an output, once.
Ended = Callable[[Made | Failed], None]

#: Seconds of a stage under which it is not told of.
LEAST_S = 0.0005


class Results:
    """The outputs of a request: made, failed, or left to make; who asked is told at once."""

    def __init__(self, request: Request, progressed: Progressed, ended: Ended) -> None:
        self._outputs, self.progressed, self._ended = request.outputs, progressed, ended
        self._done: set[str] = set()
        self.stages = Stages(lambda: {each.path: each.weight for each in self.left}, request.since)

    @property
    def left(self) -> list[Output]:
        """Those that are neither made nor failed."""
        return [each for each in self._outputs if each.path not in self._done]

    def put(self, made: Made, warnings: Iterable[str]) -> None:
        """Tell that an output is made, and what is to be told of its source."""
        self.stages.count()
        seconds = self.stages.seconds.get(made.path, {})
        told = {name: each for name, each in seconds.items() if each > LEAST_S}
        self._done.add(made.path)
        self._ended(
            replace(
                made,
                warnings=tuple(dict.fromkeys(warnings)),
                seconds=told,
                read_bytes=Total.bytes,
            )
        )

    def fail(self, output: Output, error: Exception) -> None:
        """Tell why an output can't be made."""
        self.stages.count()
        self._done.add(output.path)
        self._ended(failed(output.path, error))

    @contextmanager
    def trying(self, output: Output) -> Iterator[None]:
        """Have an output fail by the block's error, and go on. Raises Undecoded.

        The block's time is that of this output alone.
        """
        try:
            with self.stages.of(output.path):
                yield
        except Undecoded:
            raise
        except FAILURES as error:
            self.fail(output, error)


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
