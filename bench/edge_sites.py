"""The brokers that `bench/edge.py` compares: those of `brokers`, some with an edge Worker.

The Worker is that of `edge/`, in the real Workers runtime, started as its tests start it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis as redis_client
from brokers import ACCOUNT, HERE, TOKEN, Broker, Usage, cloudflare, free_port, redis

sys.path.append(str(HERE.parent))

from tests.support.edge_worker import KEY, Worker, install

#: The queue that is measured, and how it is pushed, as wrangler.toml has it for its own.
QUEUE, CONSUMER = "bench", {"dead_letter_queue": "bench-dead"}


@contextlib.contextmanager
def pull(folder: Path) -> Iterator[Broker]:
    """Polling, and no Worker."""
    with cloudflare(0, folder) as broker:
        yield replace(broker, kind="pull")


@contextlib.contextmanager
def woken(folder: Path) -> Iterator[Broker]:
    """Pulling with a Worker that has a hub, and no binding for the queue: publishes go by REST."""
    with cloudflare(0, folder) as broker, edge_worker(folder, {}) as edge:
        yield replace(broker, kind="pull, woken", options=broker.options | _of(edge))


@contextlib.contextmanager
def push(folder: Path) -> Iterator[Broker]:
    """Publishing through the Worker, which pushes to the ingress of the Celery worker."""
    port = free_port()
    ingress = f"http://127.0.0.1:{port}"
    with (
        cloudflare(0, folder) as broker,
        edge_worker(folder, {QUEUE: CONSUMER}, INGRESS_URL=ingress) as edge,
    ):
        _have_it_pushed(str(broker.options["api_base_url"]))
        ours = {"consume": "push", "ingress_port": port}
        yield replace(broker, kind="push", options=broker.options | _of(edge) | ours)


@contextlib.contextmanager
def near_redis(folder: Path) -> Iterator[Broker]:
    """A Redis on this machine, whose commands are counted."""
    with redis(0, folder) as broker:
        yield replace(broker, usage=_commands(broker.url))


def _of(edge: Worker) -> dict[str, object]:
    return {"edge_url": edge.url, "edge_keys": KEY}


@contextlib.contextmanager
def edge_worker(
    folder: Path, queues: dict[str, dict[str, Any]], **variables: str
) -> Iterator[Worker]:
    """A running edge Worker that serves these queues."""
    install()
    edge = Worker(folder / "edge", variables, queues)
    edge.start()
    try:
        yield edge
    finally:
        edge.stop()


def _have_it_pushed(api: str) -> None:
    """Tell the emulator what Cloudflare knows of a queue that a Worker consumes."""

    def post(path: str, document: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{api}/accounts/{ACCOUNT}/queues{path}",
            json.dumps(document).encode(),
            {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["result"]

    post("", {"queue_name": CONSUMER["dead_letter_queue"]})
    queue_id = post("", {"queue_name": QUEUE})["queue_id"]
    consumer = {"type": "worker", "script_name": "cutmv-processor", **CONSUMER}
    post(f"/{queue_id}/consumers", consumer)


def _commands(url: str) -> Callable[[], Usage]:
    def usage() -> Usage:
        with redis_client.Redis.from_url(url) as client:
            counted = client.info("commandstats")
            ours = ("cmdstat_info", "cmdstat_client")
            return Usage(
                sum(each["calls"] for name, each in counted.items() if not name.startswith(ours)), 0
            )

    return usage
