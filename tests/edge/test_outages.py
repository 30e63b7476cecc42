"""The edge Worker's outage: its hub and its publishing are gone, and no step waits for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.edge_worker import KEY, Worker
from tests.support.media import make_sample
from tests.support.outages import Deployment, cut_off
from tests.support.s3 import Line

pytestmark = pytest.mark.edge


@pytest.mark.slow
def test_the_edge_worker_may_be_away_for_two_seconds_at_any_point_of_a_job(
    deploy: Callable[[str], Deployment], make_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    deployment = deploy("cloudflare")
    line = Line(make_worker().url)
    deployment.stack.env |= {
        "CLOUDFLARE_EDGE_URL": line.url,
        "CLOUDFLARE_EDGE_KEYS": KEY,
        # The Worker has no binding for it: its queue is in another place than ours.
        "CLOUDFLARE_QUEUE_NAME": "cutmv-outages",
    }
    deployment.neighbours["edge"] = lambda: cut_off(line)
    deployment.start(make_sample(tmp_path / "song.mp4", seconds=4.0, size=(320, 180)))

    print(deployment.survive("edge", 2.0))
    line.close()
