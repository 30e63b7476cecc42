"""Longer outages of each neighbour, with a step of a job at each point of its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.media import make_sample
from tests.support.outages import Deployment

pytestmark = pytest.mark.soak


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seconds", [15.0, 90.0])
@pytest.mark.parametrize("mode", ["eager", "redis", "cloudflare", "edge", "push"])
def test_outages(
    mode: str, seconds: float, deploy: Callable[[str], Deployment], tmp_path: Path
) -> None:
    deployment = deploy(mode)
    deployment.start(make_sample(tmp_path / "song.mp4", seconds=4.0, size=(320, 180)))
    for neighbour in deployment.neighbours:
        print(deployment.survive(neighbour, seconds))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["eager", "redis", "cloudflare"])
def test_outages_in_which_the_steps_die(
    mode: str, deploy: Callable[[str], Deployment], tmp_path: Path
) -> None:
    deployment = deploy(mode)
    deployment.start(make_sample(tmp_path / "song.mp4", seconds=4.0, size=(320, 180)))
    for neighbour in deployment.neighbours:
        if (mode, neighbour) == ("eager", "database"):
            continue  # a web server does not start without it; systemd starts it again
        print("died:", deployment.survive(neighbour, 15.0, deadly=True))
