"""Push mode over minutes: the edge Worker's own handler, and one Celery worker `-c 2`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.test_push_load import LoadSite, comes_back, durations, keeps_busy
from tests.support.edge_worker import install
from tests.support.emulator import EmulatorProcess

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: Seconds for which a worker is away: less than those for which the Worker asks for it.
AWAY_S = 60


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[LoadSite]:
    install()
    site = LoadSite(emulator, tmp_path)
    yield site
    site.close()


@pytest.mark.parametrize(
    ("seconds", "task"),
    [
        pytest.param([15.0] * 12, "nap_long", id="product's shape"),
        pytest.param(durations(500, 0.03, 0.5), "nap", id="many"),
        pytest.param(durations(500, 0.1, 3.0), "nap", id="issue's"),
    ],
)
def test_a_worker_is_kept_busy(site: LoadSite, seconds: list[float], task: str) -> None:
    keeps_busy(site, seconds, task)


def test_a_worker_that_was_away_for_a_minute_catches_up(site: LoadSite) -> None:
    began = time.monotonic()
    comes_back(site, lambda _: time.monotonic() - began > AWAY_S, within=2 * AWAY_S)
