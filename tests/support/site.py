"""A site for what is Celery's own: each test runs on Cloudflare Queues and on Redis.

Remote control, events and replies go by the edge Worker's hub as well as by queues, so their tests
run over both: `EVERYWHERE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding
from tests.support.edge_worker import KEY, Worker, install
from tests.support.emulator import EmulatorProcess
from tests.support.transport import CloudflareSite, RedisSite, Site

#: Cloudflare whose hub, in the real Workers runtime, carries what is for temporary queues.
HUB = pytest.param("hub", marks=[pytest.mark.edge, pytest.mark.slow])

#: For `parametrize`, with `indirect`; to the end, nothing makes a binding queue in its stead.
EVERYWHERE = ["cloudflare", "redis", HUB]


class HubSite(CloudflareSite):
    """A site with an edge Worker that has none of its queues: only its hub is used.

    Sites may share the Worker, since each has a scope of its own.
    """

    def __init__(self, emulator: EmulatorProcess, directory: Path, edge: Worker) -> None:
        super().__init__(emulator, directory)
        self.edge = edge
        self.options = hub_options(edge)

    def env(self, **options: Any) -> dict[str, str]:
        """Return the environment of a process that uses the transport and the hub."""
        return super().env(**self.options, **options)


def hub_options(edge: Worker) -> dict[str, Any]:
    """The transport's options for a hub that nobody else is in."""
    return {"edge_url": edge.url, "edge_keys": KEY, "queue_name_prefix": f"{uuid4().hex[:8]}-"}


def went_by_the_hub(emulator: EmulatorProcess) -> None:
    """Fail if anything was for a binding queue: one was made, even if it has been deleted since."""
    stats = emulator.stats()
    lasting = [name for name in stats["messages"] if not TemporaryBinding.read(name)]
    assert list(stats["messages"]) == lasting
    assert stats["calls"].get("create", {}).get("200", 0) == len(lasting)


@pytest.fixture
def latency_ms() -> int:
    """How far away Cloudflare is; modules that care have their own."""
    return 0


@pytest.fixture(scope="session")
def hub_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A running edge Worker for all tests that need no more of it than its hub."""
    install()
    worker = Worker(tmp_path_factory.mktemp("hub") / "worker")
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture(params=["cloudflare", "redis"])
def site(
    request: pytest.FixtureRequest,
    make_emulator: Callable[..., EmulatorProcess],
    latency_ms: int,
    tmp_path: Path,
) -> Iterator[Site]:
    """A site whose broker is the one and then the other, without any workers yet."""
    if request.param == "redis":
        site: Site = RedisSite(request.getfixturevalue("redis_url"), tmp_path)
    elif request.param == "cloudflare":
        site = CloudflareSite(make_emulator(latency_ms=latency_ms), tmp_path)
    else:
        edge = request.getfixturevalue("hub_worker")
        site = HubSite(make_emulator(latency_ms=latency_ms), tmp_path, edge)
    try:
        yield site
        if isinstance(site, HubSite):
            went_by_the_hub(site.emulator)
    finally:
        site.close()
