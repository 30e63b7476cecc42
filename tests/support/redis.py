"""A real Redis for any test that wants one."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.processes import Process, clean_env, free_port, wait_for


class RedisServer:
    """An empty Redis that keeps nothing on disk; started again, it is empty at the same port."""

    def __init__(self, folder: Path) -> None:
        self._port, self._log = free_port(), folder / "redis.log"
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        argv = [_program(), "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._process = Process(argv, clean_env(), self._log)
        with redis.Redis(port=self._port) as client:
            wait_for(lambda: _answers(client), what="Redis answers")

    def hang(self) -> None:
        """Let it take connections and answer nothing, as behind a network that swallows all."""
        assert self._process
        self._process.child.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()


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
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running Redis that a test may hang and kill."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a running Redis."""
    return redis_server.url
