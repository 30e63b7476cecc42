"""One Worker and one ingress for all tests; each test of pushing has a queue of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.edge_ingress import Ingress
from tests.support.edge_worker import KEY, OLD_KEY, Worker, install
from tests.support.processes import free_port

#: One for each test that pushes, or looks whether anything is pushed.
PLAIN = [
    "publish",
    "woken",
    "doctor",
    "ack",
    "signed",
    "retry",
    "again",
    "busy",
    "refused",
    "down",
    "beats",
    "silent",
    "wall",
    "odd",
    "lines",
    "pieces",
    "waits",
    "gone",
]
QUEUES: dict[str, dict[str, Any]] = {
    **{f"edge-{name}": {} for name in PLAIN},
    "edge-broken": {"max_batch_size": 3, "max_batch_timeout": 1},
    "edge-cut": {"max_batch_size": 3, "max_batch_timeout": 1},
    "edge-many": {"max_batch_size": 10},
    "edge-poison": {"max_retries": 1, "dead_letter_queue": "edge-dead"},
    "edge-dead": {"dead_letter_queue": "edge-nowhere"},
}


@pytest.fixture(scope="session")
def ingress() -> Iterator[Ingress]:
    """Where the Worker pushes to."""
    ingress = Ingress()
    yield ingress
    ingress.close()


@pytest.fixture(scope="session")
def port_of_later() -> int:
    """The port of the ingress of `edge-down`, which a test starts."""
    return free_port()


@pytest.fixture(scope="session")
def worker(
    tmp_path_factory: pytest.TempPathFactory, ingress: Ingress, port_of_later: int
) -> Iterator[Worker]:
    """A Worker with two keys, and less patience than in production."""
    install()
    variables = {
        "EDGE_KEYS": f"{KEY}, {OLD_KEY}\n",
        "INGRESS_URL": ingress.url,
        "INGRESS_URLS": json.dumps({"edge-down": f"http://127.0.0.1:{port_of_later}/"}),
        "PUSH_IDLE_S": "2",
        "PUSH_WALL_S": "8",
        "PUSH_ANEW_AFTER": "2",
    }
    worker = Worker(tmp_path_factory.mktemp("edge") / "worker", variables, QUEUES)
    worker.start()
    yield worker
    worker.stop()
