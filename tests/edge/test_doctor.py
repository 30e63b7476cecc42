"""`cutmv doctor` with the real Worker: what it is asked tells, and leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutmv.transports.cloudflare.edge import PushServer
from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import clean_env, free_port
from tests.support.queues import make_pushed

pytestmark = pytest.mark.edge


def findings(emulator: EmulatorProcess, folder: Path, **env: str) -> dict[str, tuple[str, str]]:
    """Mark and what was found, by what was checked."""
    found = documents(emulator, folder, **env)
    return {each["what"]: (each["mark"], each["found"]) for each in found}


def documents(emulator: EmulatorProcess, folder: Path, **env: str) -> list[dict[str, Any]]:
    """The doctor's findings."""
    env = clean_env(**emulator.env(), CUTMV_DATA_DIR=str(folder / "data"), **env)
    done = run_python("-m", "cutmv", "doctor", "--json", env=env)
    assert KEY not in done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


@pytest.mark.slow
def test_a_good_worker_is_well_and_gets_no_message(
    worker: Worker, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    edge = {"CLOUDFLARE_EDGE_URL": worker.url, "CLOUDFLARE_EDGE_KEYS": KEY}

    found = findings(emulator, tmp_path, **edge, CLOUDFLARE_QUEUE_NAME="edge-doctor")

    assert found["edge Worker"][0] == "ok"
    # Cloudflare's own servers add the time to answers; the runtime alone does not.
    assert found["edge Worker's clock"] == ("skipped", "the answer tells no time")
    assert found["edge Worker's keys"] == ("ok", "our signature is accepted")
    assert found["edge Worker's binding of edge-doctor"] == ("ok", "is there")
    assert found["edge Worker's hub"] == ("ok", "lets us in by WebSocket")
    assert found["edge Worker's results"] == ("ok", "it keeps Celery's results")
    assert worker.process
    assert "QUEUE edge-doctor" not in worker.process.log

    found = findings(emulator, tmp_path, **edge, CLOUDFLARE_QUEUE_NAME="other")
    assert found["edge Worker's binding of other"][0] == "warning"
    found = findings(emulator, tmp_path, **{**edge, "CLOUDFLARE_EDGE_KEYS": "another"})
    assert found["edge Worker's keys"][0] == "problem"


class Handler:
    """A push consumer of which only the figures are asked."""

    def take(self, *_: Any) -> float:
        return 0.0

    def withdraw(self, _: Any) -> None: ...

    def broken(self, _: Any) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {"waiting": 0, "running": 0, "busy_answers": 0, "slots": 4}


@pytest.mark.slow
def test_whether_the_worker_reaches_the_workers_is_told(
    make_worker: Callable[..., Worker], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    queue = "edge-doctor"
    make_pushed(emulator, queue)
    one, idle = (PushServer(KEY, "127.0.0.1", 0) for _ in range(2))
    other = PushServer("another", "127.0.0.1", 0)
    one.attach(queue, Handler())
    idle.attach("another", Handler())
    other.attach(queue, Handler())
    ports = [each.address[1] for each in (one, idle, other)] + [free_port()]
    urls = [f"http://me:secret@127.0.0.1:{port}" for port in ports]
    worker = make_worker({queue: {}}, INGRESS_URL=" ".join(urls))
    try:
        answer = worker.post("/v1/ingress/check", {"queue": queue})
        servers = {each["url"]: each for each in answer.json()["push_servers"]}
        assert [each["status"] for each in servers.values()] == [200, 503, 401, None]
        assert "me:secret" not in answer.text

        found = [
            (each["mark"], each["found"])
            for each in documents(
                emulator,
                tmp_path,
                CLOUDFLARE_EDGE_URL=worker.url,
                CLOUDFLARE_EDGE_KEYS=KEY,
                CLOUDFLARE_CONSUME="push",
                CLOUDFLARE_QUEUE_NAME=queue,
            )
            if queue in each["what"] and "way to" in each["what"]
        ]
    finally:
        for each in (one, idle, other):
            each.close(0)
    assert [mark for mark, _ in found] == ["ok", "problem", "problem", "problem"]
    assert found[0][1] == f"a worker answers at http://127.0.0.1:{ports[0]}, 4 tasks at once"
    assert "Nobody consumes" in found[1][1]
    assert "different secrets" in found[2][1]
    assert "does not reach" in found[3][1]


@pytest.mark.slow
def test_a_worker_without_keys_is_found(
    make_worker: Callable[..., Worker], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    worker = make_worker(EDGE_KEYS="")
    edge = {"CLOUDFLARE_EDGE_URL": worker.url, "CLOUDFLARE_EDGE_KEYS": KEY}

    found = findings(emulator, tmp_path, **edge)

    assert found["edge Worker's keys"] == ("problem", "the Worker has none")
