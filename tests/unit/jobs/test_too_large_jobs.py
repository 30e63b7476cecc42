"""What one job may ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cutmv.config import Limits
from cutmv.jobs import Job, JobStore, TooLargeJob, check_job
from tests.support.jobs import add_job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of two outputs of a second each."""
    return add_job(JobStore(f"sqlite:///{tmp_path / 'jobs.db'}"))


@pytest.mark.parametrize("limit", ["outputs", "clip_seconds", "job_seconds"])
def test_a_job_up_to_each_limit_is_taken_and_one_over_it_is_not(job: Job, limit: str) -> None:
    most = {"outputs": 2, "clip_seconds": 1, "job_seconds": 2}
    check_job(job, Limits(**most))
    with pytest.raises(TooLargeJob, match="the most"):
        check_job(job, replace(Limits(**most), **{limit: most[limit] - 1}))
