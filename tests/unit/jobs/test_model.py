"""What a job is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutmv.jobs import JobRequest, State, Upload, plan_job
from cutmv.jobs.model import job_state
from tests.support.jobs import video_info

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


def test_a_job_is_at_100_percent_when_all_of_it_is_done_and_no_sooner() -> None:
    upload = Upload("one", "song.mp4", 1, "video/mp4", "key", video_info(), 0.0)
    job = plan_job(upload, JobRequest(upload_id="one", clips=("0-50", "50-50.1")))
    long, short = (replace(step, state=D, percent=100.0) for step in job.steps)

    failed = replace(job, steps=(long, replace(short, state=F, percent=99.9)))

    assert failed.to_json()["percent"] == 99.9
    assert replace(job, steps=(long, short)).to_json()["percent"] == 100.0
