"""Divides a long encoding into parts, each of which begins where decoding can. Pure."""

from collections.abc import Iterable
from fractions import Fraction

from cutmv.media.engine_request import may_copy
from cutmv.media.plan import RenderPlan
from cutmv.media.products.containers import steady_rate
from cutmv.media.products.shapes import Part

#: Seconds of encoding from which on it is shared, and those of one part. A part costs 0.6 s of a
#: core by itself, to start the programs, to open the source and to check the result; dividing costs
#: 0.3, and joining 1 for a quarter of a minute of 1080p.
SHARED_FROM_S, PART_S = 45.0, 15.0
#: Parts at most: each is a task.
MOST_PARTS = 100
#: A part is no shorter than this of an even one.
SHORTEST = Fraction(1, 3)
#: Pictures made, at most, until one begins at a whole tick of the source's clock.
FARTHEST = 1001


def part_count(plan: RenderPlan, estimate_s: float) -> int:
    """In how many parts an encoding of `estimate_s` seconds is made; 0 for one piece.

    Films are divided whose picture is encoded whole: a loop looks at all. AVI does not tell when
    its pictures are shown.
    """
    shareable = (
        plan.spec.kind == "cutdown"
        and plan.part is None
        and not may_copy(plan)
        and plan.info.container != "avi"
    )
    if not shareable or estimate_s < SHARED_FROM_S:
        return 0
    # An even number, so that two workers end together.
    return min(MOST_PARTS, 2 * -int(-estimate_s // (2 * PART_S)))


def wanted_starts(plan: RenderPlan, count: int) -> list[Fraction]:
    """When `count` even parts would begin but for the first, in seconds on the file's clock."""
    length_s = plan.end - plan.start
    return [plan.start + length_s * number / count for number in range(1, count)]


def divide(plan: RenderPlan, count: int, entries: Iterable[Fraction]) -> list[Part]:
    """The parts of a film, about `count`, which begin at `entries`; none where it is one.

    Entries are when key pictures are shown, in seconds on the file's clock.
    """
    length_s = plan.end - plan.start
    shortest = max(length_s / count * SHORTEST, Fraction(plan.spec.fade_s))
    starts = [Fraction(0)]
    for entry in sorted(entries):
        at = _aligned(plan, entry)
        if at is not None and at - starts[-1] >= shortest and length_s - at >= shortest:
            starts.append(at)
    if len(starts) < 2:
        return []
    return list(zip(starts, [*starts[1:], length_s], strict=True))


def _aligned(plan: RenderPlan, entry: Fraction) -> Fraction | None:
    """When in the clip a part may begin that is decoded from `entry` on; none is near.

    Where pictures are made at a steady rate, it is when one of them is, by a whole tick.
    """
    rate = steady_rate(plan.video, plan.spec)
    if rate is None:
        return entry - plan.start
    tick = plan.video.time_base
    zero = round(plan.start / tick) * tick
    each = (1 / (rate * tick)).denominator
    number = -int(-(entry - zero) * rate // each) * each
    return zero + number / rate - plan.start if each <= FARTHEST else None
