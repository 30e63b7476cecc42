"""What a job is."""

from __future__ import annotations

import pytest

from cutmv.jobs import State
from cutmv.jobs.model import job_state

Q, R, D, F, C = State.QUEUED, State.RUNNING, State.DONE, State.FAILED, State.CANCELLED


@pytest.mark.parametrize(
    ("steps", "job"),
    [
        ([Q, Q], Q),
        ([R, Q], R),
        ([D, Q], R),
        ([F, Q], R),
        ([F, R], R),
        ([D, D], D),
        ([D, F], F),
        ([D, C], C),
        ([C, F], F),
    ],
)
def test_the_state_of_a_job_follows_from_its_steps(steps: list[State], job: State) -> None:
    assert job_state(steps) is job
