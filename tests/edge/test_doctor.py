"""`cutmv doctor` with the real Worker: what it is asked tells, and leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import clean_env

pytestmark = pytest.mark.edge


def findings(emulator: EmulatorProcess, folder: Path, **env: str) -> dict[str, tuple[str, str]]:
    """Mark and what was found, by what was checked."""
    env = clean_env(**emulator.env(), CUTMV_DATA_DIR=str(folder / "data"), **env)
    done = run_python("-m", "cutmv", "doctor", "--json", env=env)
    assert KEY not in done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return {each["what"]: (each["mark"], each["found"]) for each in document["findings"]}


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
    assert worker.process
    assert "QUEUE edge-doctor" not in worker.process.log

    found = findings(emulator, tmp_path, **edge, CLOUDFLARE_QUEUE_NAME="other")
    assert found["edge Worker's binding of other"][0] == "warning"
    found = findings(emulator, tmp_path, **{**edge, "CLOUDFLARE_EDGE_KEYS": "another"})
    assert found["edge Worker's keys"][0] == "problem"


def test_a_worker_without_keys_is_found(
    make_worker: Callable[..., Worker], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    worker = make_worker(EDGE_KEYS="")
    edge = {"CLOUDFLARE_EDGE_URL": worker.url, "CLOUDFLARE_EDGE_KEYS": KEY}

    found = findings(emulator, tmp_path, **edge)

    assert found["edge Worker's keys"] == ("problem", "the Worker has none")
