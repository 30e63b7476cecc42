"""A real gunicorn in eager mode, as `cutmv web` runs it, for the tests of the web application."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.processes import Process, clean_env, free_port, wait_for

#: The secret that these servers check webhooks with.
WEBHOOK_SECRET = "a secret of the tests, of many bytes"


@dataclass(frozen=True)
class WebServer:
    """A running server: its address, its process, and the folder it keeps everything in."""

    url: str
    process: Process
    data_dir: Path

    def stored(self) -> list[Path]:
        """The files in its storage."""
        return [path for path in (self.data_dir / "files").rglob("*") if path.is_file()]


@contextmanager
def web_server(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    under: Sequence[str] = (),
    **env: str,
) -> Iterator[WebServer]:
    """Run a server until the end of the block; it must then end by SIGTERM, without an error.

    It listens on `host`, and is asked on loopback; `port` is one that an earlier server had.
    `under` are the words of a command that runs it.
    """
    port, data_dir = port or free_port(), folder / "data"
    environment = clean_env(
        CUTMV_MODE="eager", CUTMV_DATA_DIR=str(data_dir), WEBHOOK_SECRET=WEBHOOK_SECRET, **env
    )
    config = ["-c", "python:cutmv.web.server", "-b", f"{host}:{port}", "cutmv.web.wsgi:app"]
    if under:
        argv = [*under, sys.executable, "-m", "gunicorn", *config]
        process = Process(argv, environment, folder / "web.log")
    else:
        process = Process.python(["gunicorn", *config], environment, folder / "web.log")
    server = WebServer(f"http://127.0.0.1:{port}", process, data_dir)
    try:
        wait_for(lambda: _answers(server), 60.0, "the web server answers")
        yield server
        if process.child.poll() != -signal.SIGKILL:  # a test has killed it
            assert process.stop(20.0) == 0, process.log
    finally:
        process.kill()


def _answers(server: WebServer) -> bool:
    assert server.process.child.poll() is None, server.process.log
    try:
        return httpx.get(f"{server.url}/healthz", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False
