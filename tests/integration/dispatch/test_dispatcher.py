"""What the dispatcher says of its broker, and which jobs it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cutmv.config import Settings
from cutmv.dispatch import Dispatcher
from cutmv.jobs import JobRequest
from cutmv.jobs.tables import uploads
from cutmv.progress import ProgressFeed
from cutmv.services import Services
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.jobs import add_video
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.stack import Stack


@pytest.mark.slow
def test_the_queue_s_status_is_the_documented_json(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess
) -> None:
    stack = make_stack("cloudflare")
    stack.start_web()

    assert stack.status() == {
        "healthy": True,
        "message": "Queue 'cutmv-processing' is operational",
        "configured": True,
        "mode": "cloudflare",
        "fallback": None,
        "unwell_threads": [],
    }
    emulator.stop()
    sick = wait_for(lambda: None if (s := stack.status())["healthy"] else s, 30)
    assert (sick["configured"], sick["fallback"]) == (True, "eager")
    assert sick["message"] and "\n" not in sick["message"]


def test_an_unconfigured_queue_says_so(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("eager")
    stack.start_web()

    assert stack.status() == {
        "healthy": False,
        "message": "Queue not configured",
        "configured": False,
        "mode": "eager",
        "fallback": "eager",
        "unwell_threads": [],
    }


def test_a_queue_s_status_is_asked_for_at_most_every_few_seconds(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess
) -> None:
    stack = make_stack("cloudflare")
    stack.start_web()
    stack.status()
    before = emulator.stats()["calls"]

    for _ in range(20):
        stack.status()

    calls = sum(sum(c.values()) for c in emulator.stats()["calls"].values())
    assert calls - sum(sum(c.values()) for c in before.values()) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cloudflare", "redis"])
def test_the_metrics_tell_what_the_queues_hold_and_the_calls_that_are_left(
    mode: str, make_stack: Callable[[str], Stack], request: pytest.FixtureRequest
) -> None:
    stack = make_stack(mode)
    code = "from cutmv.worker import cut; cut.delay('one'); cut.delay('two')"
    run_python("-c", code, env=stack.env, check=True)
    stack.start_web()

    def samples() -> dict[str, float]:
        lines = httpx.get(f"{stack.url}/metrics", timeout=30.0).text.splitlines()
        told = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in told}

    queue = 'cutmv_queue_messages{queue="cutmv-processing"}'
    wait_for(lambda: queue in samples(), 60.0, "the queues were seen")
    found = samples()

    assert found[queue] == 2
    if mode == "redis":
        assert "cutmv_api_calls_total" not in found
        return
    assert found['cutmv_queue_messages{queue="cutmv-processing-dead"}'] == 0
    assert 0 < found["cutmv_api_calls_recent"] <= found["cutmv_api_calls_total"]
    assert 0 < found["cutmv_api_account_left"] <= 1
    emulator: EmulatorProcess = request.getfixturevalue("emulator")
    wait_for(lambda: 'cutmv_seen_age_seconds{part="workers"}' in samples(), 60.0, "all is seen")
    before = calls(emulator)
    for _ in range(3):
        samples()
    assert calls(emulator) == before, "they are asked once a minute"


def calls(emulator: EmulatorProcess) -> dict[str, int]:
    """The calls that count, by their routes."""
    made = emulator.stats()["calls"]
    return {route: sum(made[route].values()) for route in made if route not in ("pull", "ack")}


def test_a_job_of_an_upload_that_is_gone_is_refused(
    make_stack: Callable[[str], Stack],
) -> None:
    stack = make_stack("eager")
    stack.start_web()

    answer = httpx.post(f"{stack.url}/api/jobs", json={"upload_id": "0" * 30, "clips": ["0-1"]})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert io.StringIO(answer.json()["detail"]).readline()


def test_an_upload_of_an_earlier_version_is_looked_at_anew(tmp_path: Path) -> None:
    here = Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path / "data")}))
    upload = add_video(here, make_sample(tmp_path / "song.mp4", seconds=0.5, size=(320, 180)))
    told = upload.info.to_dict()
    del told["unknown_sound"], told["video"]["transparent"]
    with here.store.engine.begin() as db:
        db.execute(uploads.update().values(info=told))
    assert here.store.upload(upload.id).outdated
    dispatcher = Dispatcher(here, ProgressFeed())

    dispatcher.submit(JobRequest(upload_id=upload.id, clips=("0-0.1",)))

    dispatcher.close()
    assert here.store.upload(upload.id) == replace(upload, outdated=False)
    here.store.close()
