"""Real processes for tests: started, waited for with a deadline, ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

from tests.support.fork_server import Forked, python

T = TypeVar("T")

#: Seconds between looks at a condition.
LOOK_S = 0.05
#: Variables that a deployment reads; tests start from none of them.
OURS = ("CLOUDFLARE_", "CUTMV_", "R2_", "WEBHOOK_", "REDIS_URL", "DATABASE_URL", "CELERY_")


def wait_for(condition: Callable[[], T], deadline_s: float = 30.0, what: str = "") -> T:
    """The first true value of `condition`, or an AssertionError after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what or condition}"
        time.sleep(LOOK_S)
    return value


def slowness() -> float:
    """How many times longer than on an idle machine something may take now; 1 when it is idle.

    For bounds that are promises to people, whose machine has nothing else to do.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_env(**ours: str) -> dict[str, str]:
    """The environment without any setting of ours but these."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **ours}


class Process:
    """A child in a process group of its own, whose output goes to a file."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self.log_path = log
        with log.open("ab") as file:
            self.child = self._start(argv, env, file, cwd)

    @staticmethod
    def python(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
        """`python -m ARGV…`, whose imports are made already."""
        return _ForkedProcess(argv, env, log)

    @property
    def log(self) -> str:
        """What it printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text: str, deadline_s: float = 30.0) -> None:
        """Return once `text` was printed; fail with the log when it ends or is too slow."""
        end = time.monotonic() + deadline_s
        while text not in self.log:
            ended = self.child.poll() is not None and text not in self.log
            assert not ended, f"ended with {self.child.returncode} before {text!r}:\n{self.log}"
            assert time.monotonic() < end, f"no {text!r} within {deadline_s} s:\n{self.log}"
            time.sleep(LOOK_S)

    def stop(self, deadline_s: float = 30.0) -> int:
        """End it by SIGTERM, as a warm shutdown does; returns the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            return self.child.wait(deadline_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and all of its group by SIGKILL, as the machine's end does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def _start(
        self, argv: Sequence[str], env: Mapping[str, str], log: IO[bytes], cwd: Path | None
    ) -> subprocess.Popen[bytes] | Forked:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


class _ForkedProcess(Process):
    def _start(
        self, argv: Sequence[str], env: Mapping[str, str], log: IO[bytes], cwd: Path | None
    ) -> Forked:
        return python(
            "-m",
            *argv,
            cwd=cwd,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            new_session=True,
        )
