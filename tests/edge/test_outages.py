"""The edge Worker's outage: its hub and its publishing are gone, and no step waits for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.media import make_sample
from tests.support.outages import Deployment

pytestmark = pytest.mark.edge


@pytest.mark.slow
def test_the_edge_worker_may_be_away_for_two_seconds_at_any_point_of_a_job(
    deploy: Callable[[str], Deployment], tmp_path: Path
) -> None:
    deployment = deploy("edge")
    deployment.start(make_sample(tmp_path / "song.mp4", seconds=4.0, size=(320, 180)))
    print(deployment.survive("edge", 2.0))
