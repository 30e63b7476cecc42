"""Runs the program for many outputs of one clip, which share a decode, within some memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from av.video.frame import VideoFrame

from cutmv.media.engine.outputs import feed
from cutmv.media.engine.outputs.results import Results
from cutmv.media.engine.outputs.single.picture import Sharpest
from cutmv.media.engine.protocol import Output
from cutmv.media.engine.source.clip import Clip
from cutmv.media.engine.source.file import SourceError

#: Bytes that outputs of one decode may hold together, about; one alone may hold more.
HELD_BYTES = 2 * 2**30


def shares(outputs: Sequence[Output], most: int = HELD_BYTES) -> list[list[Output]]:
    """Return the outputs in groups that share a decode, each of which holds `most` bytes at most.

    They keep their order; one that holds more has a decode of its own.
    """
    groups: list[list[Output]] = []
    held = 0
    for output in outputs:
        if groups and held + output.holds <= most:
            groups[-1].append(output)
            held += output.holds
        else:
            groups.append([output])
            held = output.holds
    return groups


def picture_of(output: Output) -> Path:
    """Return where the program writes an output; a film's picture goes to a file beside it."""
    path = Path(output.path)
    return path.with_name(f"{path.name}.nut") if output.muxer else path


class Together:
    """Makes outputs of one clip by one decode; where that fails, each by one of its own."""

    def __init__(self, program: str, threads: int | None, clip: Clip, results: Results) -> None:
        self._program, self._threads, self._clip = program, threads, clip
        self._results = results

    def run(self, outputs: Sequence[Output]) -> dict[str, str]:
        """Have the program make outputs; return what it complained about, by their paths.

        Those that it failed to make are missing, and noted. Raises Undecoded.
        """
        told: dict[str, str] = {}
        for group in shares(outputs):
            told |= self._made(group)
        return told

    def _made(self, outputs: list[Output]) -> dict[str, str]:
        try:
            return self._decoded(outputs)
        except feed.ProgramFailed as error:
            if len(outputs) == 1:
                self._results.fail(outputs[0], error)
                return {}
        # Which of them it was is not known; all others can be made.
        told: dict[str, str] = {}
        for output in outputs:
            told |= self._made([output])
        return told

    def _decoded(self, outputs: list[Output]) -> dict[str, str]:
        """Make outputs by one decode. Raises feed.ProgramFailed, Undecoded."""
        chosen = {each.path: Sharpest() for each in outputs if each.sharpest}
        choosing = [
            (self._clip.until(each.end), chosen[each.path]) for each in outputs if each.sharpest
        ]
        frames = self._frames(choosing)
        filtered = [each for each in outputs if not each.sharpest]
        told: dict[str, str] = {}
        if filtered:
            said = self._run(filtered, frames)
            told = {each.path: said for each in filtered}
        last = max((end for end, _ in choosing), default=0)
        if last:  # the program may need fewer
            any(frame.pts is not None and frame.pts >= last for frame in frames)
        for output in outputs:
            if output.sharpest:
                told |= self._best(output, chosen[output.path].picture)
        return told

    def _frames(self, choosing: Sequence[tuple[int, Sharpest]]) -> Iterator[VideoFrame]:
        """Yield the clip's pictures, and show those before an end (ticks) to who chooses."""
        for frame in self._clip.decoded(self._clip.pictures):
            for end, sharpest in choosing:
                if frame.pts is not None and frame.pts < end:
                    sharpest.see(frame)
            yield frame

    def _best(self, output: Output, picture: VideoFrame | None) -> dict[str, str]:
        with self._results.trying(output):
            if picture is None:
                length_s = float(self._clip.until(output.end) * self._clip.span.tick)
                raise SourceError(f"all pictures are black in its {length_s:g} s.")
            picture.pts = 0
            return {output.path: self._run([output], iter([picture]))}
        return {}

    def _run(self, outputs: list[Output], frames: Iterator[VideoFrame]) -> str:
        targets = [
            feed.Target(
                picture_of(output),
                output.filters,
                (*(self._own_times() if output.muxer else ()), *output.arguments),
            )
            for output in outputs
        ]
        whole = [self._clip.count_before(self._clip.until(output.end)) for output in outputs]

        def fed(count: int) -> None:
            for output, of in zip(outputs, whole, strict=True):
                self._results.progressed(output, min(count, of), of)

        return feed.run(
            self._program, targets, frames, self._clip.span.tick, threads=self._threads, fed=fed
        )

    def _own_times(self) -> tuple[str, ...]:
        """The options by which each picture keeps its own time."""
        tick = self._clip.span.tick
        clock = f"{tick.numerator}:{tick.denominator}"
        return ("-fps_mode", "passthrough", "-enc_time_base", clock)
