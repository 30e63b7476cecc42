"""A neighbour's short outage: all steps of a job, each at another point, end once and soon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.media import make_sample
from tests.support.outages import Deployment


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=4.0, size=(320, 180))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis", "cloudflare"])
def test_each_neighbour_may_be_away_for_two_seconds_at_any_point_of_a_job(
    mode: str, deploy: Callable[[str], Deployment], video: Path
) -> None:
    deployment = deploy(mode)
    deployment.start(video)
    for neighbour in deployment.neighbours:
        print(deployment.survive(neighbour, 2.0))
