"""A site for what is Celery's own: each test runs on Cloudflare Queues and on Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.emulator_fixture import EmulatorProcess
from tests.transport_helpers import CloudflareSite, RedisSite, Site


@pytest.fixture
def latency_ms() -> int:
    """How far away Cloudflare is; modules that care have their own."""
    return 0


@pytest.fixture(params=["cloudflare", "redis"])
def site(
    request: pytest.FixtureRequest,
    make_emulator: Callable[..., EmulatorProcess],
    latency_ms: int,
    tmp_path: Path,
) -> Iterator[Site]:
    """A site whose broker is the one and then the other, without any workers yet."""
    if request.param == "cloudflare":
        site: Site = CloudflareSite(make_emulator(latency_ms=latency_ms), tmp_path)
    else:
        site = RedisSite(request.getfixturevalue("redis_url"), tmp_path)
    yield site
    site.close()
