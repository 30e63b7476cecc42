"""The emulator as a process of its own, for any test that wants Cloudflare Queues."""

from __future__ import annotations

import json
import os
import select
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.fork_server import Forked, python

#: Seconds for the process to start or to end, on a busy machine.
_DEADLINE_S = 30


@dataclass
class EmulatorProcess:
    """A running `python -m cutmv.emulator`; after `start()`, the same port and file again."""

    db: Path
    latency_ms: int = 0
    rate_limit: bool = True
    account_id: str = "0123456789abcdef0123456789abcdef"
    api_token: str = "emulator-token"
    read_only_token: str = "emulator-reader"
    s3_url: str = ""
    base_url: str = ""
    _port: int = 0
    _child: Forked | None = field(default=None, repr=False)
    _output: IO[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process, and return when it takes connections."""
        assert self._child is None, "the emulator is running already"
        ours, theirs = os.pipe()
        self._output = os.fdopen(ours)
        with os.fdopen(theirs, "w") as output:
            self._child = python(
                "-m",
                "cutmv.emulator",
                f"--port={self._port}",
                f"--db={self.db}",
                f"--latency-ms={self.latency_ms}",
                "--rate-limit" if self.rate_limit else "--no-rate-limit",
                f"--api-token={self.api_token}",
                f"--read-only-token={self.read_only_token}",
                f"--account-id={self.account_id}",
                f"--s3-url={self.s3_url}",
                env=os.environ,
                stdout=output,
            )
        try:
            line = self._first_line(self._output)
        except BaseException:
            self.kill()
            raise
        self.base_url = line.removeprefix("listening on ").strip()
        self._port = int(self.base_url.split(":")[2].split("/")[0])

    def stop(self) -> None:
        """End the process by SIGTERM, as a shutdown does."""
        self._end(lambda child: child.terminate())

    def kill(self) -> None:
        """End the process by SIGKILL, as a crash does."""
        self._end(lambda child: child.kill())

    def env(self) -> dict[str, str]:
        """What a client of the emulator has in its environment."""
        return {
            "CLOUDFLARE_ACCOUNT_ID": self.account_id,
            "CLOUDFLARE_API_TOKEN": self.api_token,
            "CLOUDFLARE_API_BASE_URL": self.base_url,
        }

    def faults(self, *rules: dict[str, Any]) -> None:
        """Put these fault rules in force, and no others."""
        self._control("PUT", "faults", list(rules))

    def faults_in_force(self) -> list[dict[str, Any]]:
        """The rules in force; `fired` is how often each has met a call."""
        return self._control("GET", "faults")

    def clear_faults(self) -> None:
        """Let nothing go wrong from now on."""
        self._control("DELETE", "faults")

    def believe(self, **switches: Any) -> None:
        """Behave as these switches say, and else as we believe that Cloudflare does."""
        self._control("PUT", "beliefs", switches)

    def stats(self) -> dict[str, Any]:
        """What happened since the process started."""
        return self._control("GET", "stats")

    def reset(self) -> None:
        """Forget all queues, messages, faults and statistics."""
        self._control("POST", "reset")

    def _control(self, method: str, name: str, document: Any = None) -> Any:
        url = self.base_url.removesuffix("/client/v4") + f"/_emulator/{name}"
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(url, data, method=method)
        with urllib.request.urlopen(request, timeout=_DEADLINE_S) as response:
            return json.loads(response.read() or "null")

    def _end(self, signal: Callable[[Forked], None]) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        signal(child)
        try:
            child.wait(_DEADLINE_S)
        finally:
            child.kill()
            child.wait()
            assert self._output
            self._output.close()

    @staticmethod
    def _first_line(output: IO[str]) -> str:
        """The first line of output, once it is there."""
        assert select.select([output], [], [], _DEADLINE_S)[0], "the emulator says nothing"
        line = output.readline()
        assert line.startswith("listening on "), f"the emulator did not start: {line!r}"
        return line


@pytest.fixture
def make_emulator(tmp_path: Path) -> Iterator[Callable[..., EmulatorProcess]]:
    """Start emulators: `make_emulator(latency_ms=0, rate_limit=True)`; each has its own file."""
    made: list[EmulatorProcess] = []

    def make(*, latency_ms: int = 0, rate_limit: bool = True) -> EmulatorProcess:
        emulator = EmulatorProcess(
            tmp_path / f"emulator-{len(made)}.sqlite3", latency_ms, rate_limit
        )
        made.append(emulator)
        emulator.start()
        return emulator

    yield make
    for emulator in made:
        emulator.kill()


@pytest.fixture
def emulator(make_emulator: Callable[..., EmulatorProcess]) -> EmulatorProcess:
    """A running emulator that counts calls as Cloudflare does, and is as fast as it can be."""
    return make_emulator()
