"""The brokers that `bench/transport.py` compares, each started anew, near or far."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
#: The one account and token of a fresh emulator.
ACCOUNT, TOKEN = "0" * 32, "bench"
#: Seconds after which anything is given up.
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Usage:
    """What a broker has been asked to do so far."""

    calls: int
    operations: int

    def __sub__(self, before: Usage) -> Usage:
        return Usage(self.calls - before.calls, self.operations - before.operations)


@dataclass(frozen=True)
class Broker:
    """A running broker: what Celery needs, and what it has done where that is counted."""

    kind: str
    latency_ms: int
    url: str
    options: dict[str, object]
    usage: Callable[[], Usage] | None = None

    @property
    def name(self) -> str:
        """As the tables call it."""
        return f"{self.kind}, {self.latency_ms} ms"


@contextlib.contextmanager
def child(*argv: str, **options: object) -> Iterator[subprocess.Popen]:
    """Run a program, and end it and all its children."""
    process = subprocess.Popen(argv, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(condition: Callable[[], bool], what: str, pause_s: float = 0.01) -> None:
    """Return once it is true, which is asked again after each pause."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"given up after {DEADLINE_S:.0f} s: {what}")
        time.sleep(pause_s)


@contextlib.contextmanager
def cloudflare(latency_ms: int, folder: Path) -> Iterator[Broker]:
    """The emulator; its latency is that of each call."""
    argv = [sys.executable, "-m", "cutmv.emulator", "--no-rate-limit"]
    argv += [f"--db={folder / 'queues.sqlite3'}", f"--latency-ms={latency_ms}"]
    argv += [f"--api-token={TOKEN}", f"--account-id={ACCOUNT}"]
    with child(*argv, stdout=subprocess.PIPE, text=True) as emulator:
        base = emulator.stdout.readline().removeprefix("listening on ").strip()
        stats = base.removesuffix("/client/v4") + "/_emulator/stats"

        def usage() -> Usage:
            with urllib.request.urlopen(stats) as answer:
                counted = json.load(answer)
            calls = sum(sum(counts.values()) for counts in counted["calls"].values())
            return Usage(calls, sum(counted["billed"].values()))

        url = f"cloudflare://:{TOKEN}@{ACCOUNT}"
        options = {"api_base_url": base, "rate_limit": 0}
        yield Broker("cloudflare", latency_ms, url, options, usage)


@contextlib.contextmanager
def redis(latency_ms: int, folder: Path) -> Iterator[Broker]:
    """A Redis that keeps nothing on disk, behind a line as long as `latency_ms`."""
    port = free_port()
    argv = [_program("redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    argv += ["--save", "", "--dir", str(folder)]
    with child(*argv, stdout=subprocess.DEVNULL), line_to(port, latency_ms) as near:
        yield Broker("redis", latency_ms, f"redis://127.0.0.1:{near}/0", {})


@contextlib.contextmanager
def sqs(latency_ms: int, folder: Path) -> Iterator[Broker]:
    """Moto's SQS, behind a line as long as `latency_ms`.

    It makes a queue's URL of the address it is called by, so all calls go through the line.
    """
    port = free_port()
    argv = [sys.executable, _program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with (
        (folder / "moto.log").open("wb") as log,
        child(*argv, stdout=log, stderr=log),
        line_to(port, latency_ms) as near,
    ):
        options = {"is_secure": False, "region": "us-east-1"}
        yield Broker("sqs", latency_ms, f"sqs://key:secret@127.0.0.1:{near}", options)


@contextlib.contextmanager
def line_to(port: int, latency_ms: int) -> Iterator[int]:
    """The port by which a server is reached that is so far away."""
    wait_for(lambda: _answers(port), "the server answers")
    if not latency_ms:
        yield port
        return
    argv = [sys.executable, str(HERE / "delay_line.py"), f"127.0.0.1:{port}"]
    argv += ["--round-trip-ms", str(latency_ms)]
    with child(*argv, stdout=subprocess.PIPE, text=True) as line:
        yield int(line.stdout.readline())


def _program(name: str) -> str:
    """Of the virtual environment, or of the system."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    if found is None:
        raise SystemExit(f"the benches need {name}: see docs/performance.md.")
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
