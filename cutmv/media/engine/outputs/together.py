"""Makes many outputs of one clip by one decode, within some memory; each is told of when it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from av.video.frame import VideoFrame

from cutmv.media.engine.outputs import feed
from cutmv.media.engine.outputs.results import Results
from cutmv.media.engine.outputs.single.picture import Sharpest
from cutmv.media.engine.protocol import Output
from cutmv.media.engine.source.clip import Clip
from cutmv.media.engine.source.file import SourceError
from cutmv.media.engine.timeline.pictures import Picture

#: Bytes that outputs of one decode may hold together, about; one alone may hold more.
HELD_BYTES = 2 * 2**30
#: Pictures that the first one's filters look at, at most: fields are brought together with others'.
LOOKED_AT = 4


def shares(outputs: Sequence[Output], most: int = HELD_BYTES) -> list[list[Output]]:
    """Return the outputs in groups that share a decode, each of which holds `most` bytes at most.

    They keep their order; one that holds more has a decode of its own, as has one whose filters get
    the pictures next to the clip.
    """
    groups: list[list[Output]] = []
    held = 0
    for output in outputs:
        alone = any(any(each.neighbours) for each in (output, *(groups[-1] if groups else ())))
        if groups and held + output.holds <= most and not alone:
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
    """Makes outputs of one clip by one decode.

    Those that end together are made by one program, where these are written; `finish` is called
    with each that is written, and with what the program complained about. Where a program of
    several fails, each is made again by a decode of its own.
    """

    def __init__(
        self,
        program: str,
        threads: int | None,
        clip: Clip,
        results: Results,
        finish: Callable[[Output, str], None],
    ) -> None:
        self._program, self._threads, self._clip = program, threads, clip
        self._results, self._finish = results, finish

    def run(self, outputs: Sequence[Output]) -> None:
        """Make outputs; those that the program fails to make are noted. Raises Undecoded."""
        for group in shares(outputs):
            # Which of several it was that failed is not known; all others can be made.
            for output in self._decoded(group):
                self._decoded([output])

    def _decoded(self, outputs: Sequence[Output]) -> list[Output]:
        """Make outputs by one decode; return those of programs that failed. Raises Undecoded."""
        doubtful: list[Output] = []
        of_end: dict[int, list[Output]] = {}
        for output in outputs:
            if not output.sharpest:
                of_end.setdefault(self._end(output), []).append(output)
        choosing = [(output, Sharpest()) for output in outputs if output.sharpest]
        with ExitStack() as stack:
            running = [
                (end, each, stack.enter_context(self._started(each)))
                for end, each in of_end.items()
            ]
            for frame in self._clip.decoded(self._pictures(outputs[0])):
                at = frame.pts or 0
                choosing = self._chosen(choosing, at)
                for _, sharpest in choosing:
                    sharpest.see(frame)
                for end, of_program, program in tuple(running):
                    if at < end:
                        program.give(frame)
                    else:
                        program.finish()
                    if program.ended:
                        running.remove((end, of_program, program))
                        doubtful += self._ended(of_program, program)
                if not running and not choosing:
                    break
            for _, _, program in running:
                program.finish()
            for _, of_program, program in running:
                doubtful += self._ended(of_program, program)
        self._chosen(choosing, self._clip.span.length)
        return doubtful

    def _pictures(self, output: Output) -> list[Picture]:
        """Return the pictures that an output's filters get, as others of its decode do."""
        before, after = output.neighbours
        return self._clip.beside(before=before, after=after)

    def _end(self, output: Output) -> int:
        """Return when pictures come of which an output is made no more, in ticks of the clip."""
        pictures = self._clip.pictures
        if any(output.neighbours):
            return self._clip.pts(self._pictures(output)[-1].pts) + 1
        if output.pictures == 1 and len(pictures) > LOOKED_AT:
            return self._clip.pts(pictures[LOOKED_AT].pts)
        return self._clip.until(output.end)

    def _ended(self, outputs: Sequence[Output], program: feed.Program) -> list[Output]:
        """Finish what a program has written; where it failed return its outputs, if several."""
        try:
            said = program.complaints()
        except (feed.ProgramFailed, SourceError) as error:
            if len(outputs) > 1:
                return list(outputs)
            self._results.fail(outputs[0], error)
            return []
        for output in outputs:
            self._finish(output, said)
        return []

    def _chosen(
        self, choosing: list[tuple[Output, Sharpest]], at: int
    ) -> list[tuple[Output, Sharpest]]:
        """Make the stills whose pictures all came before `at` (ticks); return the others."""
        for output, sharpest in choosing:
            if at >= self._clip.until(output.end):
                self._best(output, sharpest.picture)
        return [each for each in choosing if at < self._clip.until(each[0].end)]

    def _best(self, output: Output, picture: VideoFrame | None) -> None:
        with self._results.trying(output):
            if picture is None:
                length_s = float(self._clip.until(output.end) * self._clip.span.tick)
                raise SourceError(f"all pictures are black in its {length_s:g} s.")
            picture.pts = 0
            with self._started([output]) as program:
                program.give(picture)
                program.finish()
                said = program.complaints()
            self._finish(output, said)

    def _started(self, outputs: Sequence[Output]) -> feed.Program:
        targets = [
            feed.Target(
                picture_of(output),
                output.filters,
                (*(self._own_times() if output.muxer else ()), *output.arguments),
            )
            for output in outputs
        ]
        whole = [self._clip.count_before(self._end(output)) for output in outputs]

        def fed(count: int) -> None:
            for output, of in zip(outputs, whole, strict=True):
                self._results.progressed(output, min(count, of), of)

        tick = self._clip.span.tick
        lead = max(0, -self._clip.pts(self._pictures(outputs[0])[0].pts))
        return feed.Program(self._program, targets, tick, threads=self._threads, fed=fed, lead=lead)

    def _own_times(self) -> tuple[str, ...]:
        """The options by which each picture keeps its own time."""
        tick = self._clip.span.tick
        clock = f"{tick.numerator}:{tick.denominator}"
        return ("-fps_mode", "passthrough", "-enc_time_base", clock)
