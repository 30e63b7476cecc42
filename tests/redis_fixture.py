"""A real Redis for any test that wants one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import Process, clean_env, free_port, wait_for


def _program() -> str:
    """`redis-server` of the system, or the one a wheel put into the virtual environment."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("redis-server") or shutil.which("redis-server", path=beside)
    assert found, "no redis-server: run scripts/test, which gets one"
    return found


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty Redis that keeps nothing on disk."""
    port = free_port()
    argv = [_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = Process(argv, clean_env(), tmp_path / "redis.log")
    try:
        with redis.Redis(port=port) as client:
            wait_for(lambda: _answers(client), what="Redis answers")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.kill()
