"""The Worker of edge/ in the real Workers runtime, started by `wrangler dev` on loopback."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from cutmv.transports.cloudflare.edge import to_edge
from cutmv.transports.cloudflare.edge.signature import Purpose, sign
from tests.support.processes import Process, clean_env, free_port, wait_for

ROOT = Path(__file__).parents[2]
EDGE = ROOT / "edge"
BIN = EDGE / "node_modules" / ".bin"

KEY = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
OLD_KEY = "whsec_" + "VGhlIGtleSBvZiBiZWZvcmUsIG9mIDMyIGJ5dGVzISE="

#: Seconds for the runtime to be there, on a busy machine, and for anything else to happen.
START_S = 60
DEADLINE_S = 30
#: Bytes of a frame that a client takes; deliveries are larger than what was published.
MAX_FRAME = 8 * 1024 * 1024


def tool_env() -> dict[str, str]:
    """The environment for npm's tools: the pinned Node first, and no calls home."""
    return clean_env(
        PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
        WRANGLER_SEND_METRICS="false",
        CLOUDFLARE_CF_FETCH_ENABLED="false",
        CI="1",
    )


def install() -> None:
    """Install the packages that edge/package-lock.json pins, unless they are there."""
    with (EDGE / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test process does it, the others wait
        installed = EDGE / "node_modules" / ".package-lock.json"
        if installed.exists() and installed.stat().st_mtime > Path(lock.name).stat().st_mtime:
            return
        npm = shutil.which("npm")
        assert npm, "the edge tests need npm: install Node.js"
        argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(argv, cwd=EDGE, check=True, timeout=300)


def run_tool(*argv: str, deadline_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one of npm's tools in edge/, to its end."""
    return subprocess.run(
        [str(BIN / argv[0]), *argv[1:]],
        cwd=EDGE,
        env=tool_env(),
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )


def signed(
    body: bytes,
    purpose: Purpose,
    *,
    keys: Sequence[str] = (KEY,),
    at: float | None = None,
    webhook_id: str = "",
) -> dict[str, str]:
    """The headers that sign a body as the Python side does."""
    webhook_id = webhook_id or f"msg_{uuid4().hex}"
    timestamp = int(time.time() if at is None else at)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            sign(key, purpose, webhook_id, timestamp, body) for key in keys
        ),
    }


class HubClient:
    """A client of the hub that reports what it got, unless told not to."""

    def __init__(self, socket: ClientConnection, *, reports: bool = True) -> None:
        self.socket = socket
        self.reports = reports
        self._inbox: list[dict[str, Any]] = []
        self._ref = 0

    def send(self, *ops: dict[str, Any]) -> None:
        """Send ops, more than one as an array."""
        self.socket.send(json.dumps(ops[0] if len(ops) == 1 else ops))

    def frame(self) -> Any:
        """The next frame, as it came."""
        frame = json.loads(self.socket.recv(timeout=DEADLINE_S))
        if self.reports:
            self.send({"op": "got", "frames": 1})
        return frame

    def next(self) -> dict[str, Any]:
        """The next op."""
        if not self._inbox:
            frame = self.frame()
            self._inbox += frame if isinstance(frame, list) else [frame]
        return self._inbox.pop(0)

    def bind(self, exchange: str, kind: str, key: str, queue: str) -> None:
        """Bind a queue, and return when the hub did it."""
        self.send(op("bind", exchange, kind, key, queue=queue))
        self.settle()

    def settle(self) -> None:
        """Return when the hub has done all that was sent; nothing else came before its answer."""
        assert self.publish("nowhere", "fanout", "", "") == 0
        assert not self._inbox, self._inbox

    def publish(self, exchange: str, kind: str, key: str, text: str, **more: Any) -> int:
        """Publish, and return to how many clients it went; other ops stay to be read."""
        self._ref += 1
        self.send(op("publish", exchange, kind, key, text=text, ref=self._ref, **more))
        kept: list[dict[str, Any]] = []
        while (answer := self.next()).get("ref") != self._ref:
            kept.append(answer)
        self._inbox = kept + self._inbox
        assert answer["op"] == "ok", answer
        return int(answer["routed"])

    def texts(self, count: int) -> list[str]:
        """The texts of the next deliveries."""
        return [self.next()["text"] for _ in range(count)]


def op(name: str, exchange: str, kind: str, key: str, **more: Any) -> dict[str, Any]:
    """An op that has an address."""
    return {"op": name, "exchange": exchange, "kind": kind, "key": key, **more}


@dataclass
class Worker:
    """A running Worker; after `start()`, the same state again."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""
    process: Process | None = None
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=DEADLINE_S))

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "wrangler.json"
        config.write_text(json.dumps(self._config()))
        port = urlsplit(self.url).port or free_port()  # the same as before
        self.url = f"http://127.0.0.1:{port}"
        self.process = Process(
            [
                str(BIN / "wrangler"),
                "dev",
                f"--config={config}",
                f"--port={port}",
                "--ip=127.0.0.1",
                f"--inspector-port={free_port()}",
                f"--persist-to={self.folder / 'state'}",
                "--show-interactive-dev-session=false",
            ],
            {
                **tool_env(),
                "WRANGLER_REGISTRY_PATH": str(self.folder / "registry"),
                "WRANGLER_LOG_PATH": str(self.folder / "logs"),
            },
            self.folder / "wrangler.log",
            cwd=self.folder,
        )
        try:
            wait_for(self._healthy, START_S, "the Worker answers")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        if self.process:
            self.process.stop()
            self.process = None

    def post(self, path: str, document: Any, **how: Any) -> httpx.Response:
        """POST JSON, signed."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.http.post(
            self.url + path, content=body, headers=signed(body, to_edge("POST", path), **how)
        )

    def publish(self, queue: str, *bodies: str, **more: Any) -> httpx.Response:
        """Publish messages to a queue."""
        messages = [{"body": body, **more} for body in bodies]
        answer = self.post(f"/v1/queues/{queue}/messages", {"messages": messages})
        assert answer.status_code == 200, answer.text
        return answer

    def wait_for_batches(self, queue: str, *expected: str) -> None:
        """Wait until so many batches of `queue` have ended: each with `acked/all` messages."""

        def ended() -> list[str]:
            assert self.process
            return re.findall(rf"QUEUE {queue} (\d+/\d+) ", self.process.log)

        wait_for(lambda: len(ended()) >= len(expected), DEADLINE_S, f"{queue}: {expected}")
        assert ended() == list(expected)

    @contextmanager
    def hub(self, client: str = "", scope: str = "", **how: Any) -> Iterator[HubClient]:
        """A client of the hub."""
        target = f"/v1/hub?client={client or uuid4().hex}&scope={scope}"
        with connect(
            self.url.replace("http", "ws", 1) + target,
            additional_headers=signed(b"", to_edge("GET", target)),
            open_timeout=DEADLINE_S,
            close_timeout=1,
            max_size=MAX_FRAME,
            compression=None,
        ) as socket:
            yield HubClient(socket, **how)

    def _healthy(self) -> bool:
        assert self.process
        code = self.process.child.poll()
        assert code is None, f"wrangler ended with {code}:\n{self.process.log}"
        try:
            return self.http.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def _bundle(self, main: str) -> Path:
        """All of the Worker in one file: in sources Wrangler looks for changes all the time."""
        bundle = self.folder / "bundle" / "index.js"
        wanted = ["--bundle", "--format=esm", "--target=es2024", "--external:cloudflare:*"]
        done = run_tool("esbuild", str(ROOT / main), *wanted, f"--outfile={bundle}")
        assert done.returncode == 0, done.stderr
        return bundle

    def _config(self) -> dict[str, Any]:
        """wrangler.toml as it is, with more queues, and variables that are the test's."""
        config = tomllib.loads((ROOT / "wrangler.toml").read_text())
        config |= {"main": str(self._bundle(config["main"])), "no_bundle": True}
        del config["env"]
        config["vars"] = {"EDGE_KEYS": KEY, **config["vars"], **self.variables}
        (model,) = config["queues"]["consumers"]
        for queue, consumer in self.queues.items():
            binding = f"QUEUE_{queue.upper().replace('-', '_')}"
            config["queues"]["producers"].append({"binding": binding, "queue": queue})
            config["queues"]["consumers"].append({**model, "queue": queue, **consumer})
        return config


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start Workers of a test's own: `make_worker(HUB_GRACE_S="1")`."""
    install()
    made: list[Worker] = []

    def make(queues: dict[str, dict[str, Any]] | None = None, **variables: str) -> Worker:
        worker = Worker(tmp_path / f"worker-{len(made)}", variables, queues or {})
        made.append(worker)
        worker.start()
        return worker

    yield make
    for worker in made:
        worker.stop()
