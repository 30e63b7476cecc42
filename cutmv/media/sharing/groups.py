"""Tells which outputs of a clip are made in one task, where they share a decode. Pure.

One decode of a clip costs a third of what three cost, and its bytes are read once. But tasks of
their own may run at once, on workers that are idle. So outputs go together as long as their task
is short: what takes long is worth more on several workers than a decode is, and what takes very
long is divided among them anyway.
"""

from collections.abc import Sequence

from cutmv.media.engine_request import may_copy
from cutmv.media.plan import RenderPlan
from cutmv.media.products.spec import SOUNDS
from cutmv.media.sharing.parts import SHARED_FROM_S, part_count

#: Outputs of one task at most: a request to the engine must fit into a pipe.
MOST_TOGETHER = 16


def groups(outputs: Sequence[tuple[RenderPlan, float]]) -> list[list[int]]:
    """The places of outputs that are made in one task each, by plans and estimated seconds.

    Outputs are of one clip where they follow each other. What needs no decoded picture (copies,
    sound alone) waits for nothing that does.
    """
    found: list[list[int]] = []
    latest: dict[tuple[object, bool], tuple[list[int], float]] = {}
    for place, (plan, seconds) in enumerate(outputs):
        decoded = plan.spec.kind not in SOUNDS and not may_copy(plan)
        if part_count(plan, seconds):
            found.append([place])
            continue
        clip = (plan.clip, decoded)
        group, spent = latest.get(clip, ([], 0.0))
        if not group or spent + seconds > SHARED_FROM_S or len(group) == MOST_TOGETHER:
            group, spent = [], 0.0
            found.append(group)
        group.append(place)
        latest[clip] = (group, spent + seconds * decoded)
    return found
