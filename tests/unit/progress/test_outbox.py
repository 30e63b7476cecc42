"""The outbox of a worker: how often events leave it."""

from __future__ import annotations

import itertools
import time

from cutmv.progress import Outbox, ProgressEvent
from cutmv.progress.outbox import PACE_S


class Kept(Outbox):
    """An outbox that keeps what it delivers, and when."""

    def __init__(self) -> None:
        self.delivered: list[tuple[float, ProgressEvent]] = []
        super().__init__("kept")

    def deliver(self, events: list[ProgressEvent]) -> None:
        self.delivered += [(time.monotonic(), event) for event in events]


def test_of_a_step_at_most_four_events_leave_in_a_second_and_the_last_is_the_latest() -> None:
    outbox, sent = Kept(), 0
    end = time.monotonic() + 6 * PACE_S
    while time.monotonic() < end:
        for step in ("one", "other"):
            outbox.send(ProgressEvent(step, "job", percent=sent))
        sent += 1
    outbox.close()

    for step in ("one", "other"):
        times = [at for at, event in outbox.delivered if event.step_id == step]
        # But for the last, which closing does not hold back.
        gaps = [later - at for at, later in itertools.pairwise(times)][:-1]
        assert min(gaps) >= PACE_S * 0.99
        assert [e.percent for _, e in outbox.delivered if e.step_id == step][-1] == sent - 1
