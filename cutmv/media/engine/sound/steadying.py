"""Brings sound to its clock: where packets' times and counted samples drift apart, it is stretched.

A recorder's clock may run faster or slower than the sound that it counts, and packets may lack some
samples each: within minutes that is heard. Times in this module are samples of the sound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from av.audio.frame import AudioFrame

from cutmv.media.engine.sound.filtering import Filter, graph_like, pulled

#: Seconds by which a clock jumps ahead or back from one piece to the next: there is a hole, or what
#: was there before. It is more than by which two times of whole milliseconds are rounded.
JUMP_S = Fraction(3, 2000)
#: Seconds by which one time may be beside its clock, and the sound until it is stretched.
ROUNDED_S, BESIDE_S = Fraction(1, 2000), Fraction(7, 10_000)
#: Seconds of sound, before a piece and after it, by which is seen how its clock goes; it is as long
#: as the resampler takes to make up for what it is told.
LOOK_S = 1
#: Pieces of such a second that are looked at, at most.
LOOKED = 32
#: How the resampler goes by the times of what it is given (FFmpeg's `aresample`): always by
#: stretching, by a fiftieth at most.
BY_TIMES: Filter = (
    "aresample",
    "flags=res:async=1:min_comp=0.00002:min_hard_comp=1000:comp_duration=1:max_soft_comp=0.02",
)


def steady(
    pieces: Iterator[tuple[int | None, AudioFrame]], rate: int
) -> Iterator[tuple[int, AudioFrame]]:
    """Yield pieces of sound, each with its place, of pieces and when their clock says they begin.

    Pieces follow one another to the sample but where the clock jumps. What comes before the first
    that has a time is left out.
    """
    run = _Run(rate)
    for clock, piece in pieces:
        if clock is not None and run.is_left_by(clock):
            yield from run.rest()
            run = _Run(rate)
        yield from run.take(clock, piece)
    yield from run.rest()


class _Run:
    """Sound whose clock does not jump."""

    def __init__(self, rate: int) -> None:
        self._rate, self._count = rate, 0
        #: Where pieces are by counting, and how much later by their clock; the latest two seconds.
        self._seen: deque[tuple[int, int]] = deque()
        self._late: int | None = None
        #: Pieces that wait until it is seen how the clock goes on, and where they are by counting.
        self._held: deque[tuple[int, AudioFrame]] = deque()
        self._begins: int | None = None
        self._stretching: _Stretching | None = None

    def is_left_by(self, clock: int) -> bool:
        """Whether the next piece does not go on where the latest ends."""
        late = clock - self._count
        return self._late is not None and abs(late - self._late) > JUMP_S * self._rate

    def take(self, clock: int | None, piece: AudioFrame) -> Iterator[tuple[int, AudioFrame]]:
        if clock is not None:
            self._late = clock - self._count
            if not self._seen or (self._count - self._seen[-1][0]) * LOOKED >= self._rate * LOOK_S:
                self._seen.append((self._count, self._late))
        if self._late is None:
            return
        self._held.append((self._count, piece))
        self._count += piece.samples
        while self._held and self._held[0][0] + LOOK_S * self._rate <= self._count:
            yield from self._next()

    def rest(self) -> Iterator[tuple[int, AudioFrame]]:
        while self._held:
            yield from self._next()
        if self._stretching is not None:
            yield from self._stretching.rest()

    def _next(self) -> Iterator[tuple[int, AudioFrame]]:
        at, piece = self._held.popleft()
        look = LOOK_S * self._rate
        while len(self._seen) > 1 and self._seen[0][0] < at - look:
            self._seen.popleft()
        late, late_then = _line(self._seen, at, at + look)
        if self._begins is None:
            # A file's first time is exact, whatever the others are rounded to.
            first = self._seen[0][1]
            rounded = abs(first - late) <= ROUNDED_S * self._rate
            self._begins = first if rounded else round(late)
        place = self._begins + at
        if self._stretching is None:
            if abs(late - self._begins) <= BESIDE_S * self._rate:
                yield place, piece
                return
            self._stretching = _Stretching(piece, place)
        yield from self._stretching.take(piece, at + round(late_then))


class _Stretching:
    """Stretches sound from a place on, until it is where it is told to be."""

    def __init__(self, like: AudioFrame, place: int) -> None:
        self._place, self._begun = place, False
        self._graph = graph_like(like, [BY_TIMES])

    def take(self, piece: AudioFrame, told: int) -> Iterator[tuple[int, AudioFrame]]:
        """Yield what is made of a piece that shall be where it is told within a second."""
        piece.pts = told if self._begun else self._place
        piece.time_base = Fraction(1, piece.sample_rate)
        self._begun = True
        self._graph.push(piece)
        yield from self._made()

    def rest(self) -> Iterator[tuple[int, AudioFrame]]:
        self._graph.push(None)
        yield from self._made()

    def _made(self) -> Iterator[tuple[int, AudioFrame]]:
        for piece in pulled(self._graph):
            place, self._place = self._place, self._place + piece.samples
            yield place, piece


def _line(points: deque[tuple[int, int]], *at: int) -> tuple[float, ...]:
    """Return what the straight line that is nearest to some points has at some places."""
    first = points[0][1]
    if all(value == first for _, value in points):
        return tuple(float(first) for _ in at)
    count = len(points)
    middle, mean = (sum(each) / count for each in zip(*points, strict=True))
    spread = sum((place - middle) ** 2 for place, _ in points)
    slope = sum((place - middle) * (value - mean) for place, value in points) / spread
    return tuple(mean + slope * (each - middle) for each in at)
