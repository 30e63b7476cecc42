"""A host of containers without Docker: real processes, which the Worker's objects start and signal.

`edge/tests/container_worker.ts` is the other half: it stands where the Workers runtime has a
container, and asks this host over HTTP.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.edge_worker import Worker
from tests.support.processes import Process, clean_env, free_port, wait_for

#: The port of a site, as its command says it.
SITE_PORT = 8000
#: Bindings and migrations of containers, as wrangler.toml has them for serverless workers.
OBJECTS = {
    "CONTAINER": "WorkerContainer",
    "SITE": "SiteContainer",
    "AUTOSCALER": "StoppableAutoscaler",
}


@dataclass
class ContainerHost:
    """Starts the command of each container, by default `argv`, with its environment.

    `env` is added to what the Worker gives a container. `refused` is how many starts are refused
    from now on.
    """

    folder: Path
    argv: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)
    backlog: Callable[[], int] = lambda: 0
    refused: int = 0
    #: Each process that was started, with the name of its container.
    started: list[tuple[str, Process]] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Listen."""
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer = getattr(host, f"_{self.path.strip('/')}")(told)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # the Worker has ended
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def running(self) -> list[str]:
        """The containers that run."""
        return [name for name, process in self.started if process.child.poll() is None]

    def process(self, name: str) -> Process:
        """The newest process of a container."""
        return next(process for each, process in reversed(self.started) if each == name)

    def logs(self) -> str:
        """What all containers wrote."""
        return "\n".join(f"--- {name}\n{process.log}" for name, process in self.started)

    def close(self) -> None:
        """Kill what still runs."""
        self._server.shutdown()
        self._server.server_close()
        for _, process in self.started:
            process.kill()

    def _start(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.given.append(told)
            if self.refused > 0:
                self.refused -= 1
                return 503, {}
            port = free_port()
            env = {
                **clean_env(),
                **told.get("env", {}),
                **self.env,
                # All share one machine here.
                "CLOUDFLARE_INGRESS_HOST": "127.0.0.1",
                "CLOUDFLARE_INGRESS_PORT": str(port),
            }
            log = self.folder / f"container-{len(self.started)}.log"
            # The port of a container's web server is one of this machine's here.
            command = told.get("entrypoint") or self.argv
            argv = [str(port) if each == str(SITE_PORT) else each for each in command]
            self.started.append((told["name"], Process.python(argv, env, log)))
            self.ports[told["name"]] = port
        return 200, {}

    def _port(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if told["name"] not in self.running():
            return 503, {}
        return 200, {"port": self.ports[told["name"]]}

    def _wait(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        child = self.process(told["name"]).child
        wait_for(lambda: child.poll() is not None, 3_600)  # others look at it meanwhile
        return 200, {"code": child.poll()}

    def _signal(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        process = self.process(told["name"])
        if told["signo"] == signal.SIGKILL:
            process.kill()
        elif process.child.poll() is None:
            process.child.send_signal(told["signo"])
        return 200, {}

    def _backlog(self, _told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"backlogCount": self.backlog(), "backlogBytes": 0}


class ContainerWorker(Worker):
    """The Worker with containers of a host."""

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        config["main"] = str(self._bundle("edge/tests/container_worker.ts"))
        objects = [{"name": name, "class_name": of} for name, of in OBJECTS.items()]
        config["durable_objects"]["bindings"] += objects
        config["migrations"].append({"tag": "test", "new_sqlite_classes": [*OBJECTS.values()]})
        config["triggers"] = {"crons": ["* * * * *"]}
        return config
