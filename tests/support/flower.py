"""A real Flower, on the tests' app or the product's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import free_port
from tests.support.transport import Site


@contextmanager
def flower(site: Site, folder: Path) -> Iterator[Callable[[str], Any]]:
    """Run Flower; yields what asks its API."""
    with flower_of("tests.support.transport_app", site.env(), folder) as get:
        yield get


@contextmanager
def flower_of(app: str, environ: Mapping[str, str], folder: Path) -> Iterator[Callable[[str], Any]]:
    """Run Flower on an app; yields what asks its API."""
    port = free_port()
    argv = [sys.executable, "-m", "celery", "-A", app, "flower"]
    argv += [f"--port={port}", "--address=127.0.0.1", "--inspect-timeout=3000"]
    env = {**environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)

    def get(path: str) -> Any:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/{path}", timeout=20)
            return answer.raise_for_status().json()
        except httpx.HTTPError:
            return {}

    try:
        yield get
    finally:
        process.terminate()
        process.wait(20)
