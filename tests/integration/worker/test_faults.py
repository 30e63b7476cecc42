"""Nothing lost, nothing twice: what a job does when a part of the deployment dies under it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.media import SLOW_TO_CUT, make_sample
from tests.support.processes import Process, wait_for
from tests.support.stack import Stack, check_done_once, in_the_middle, outputs

#: Clips of this video take some seconds each, so that there is a middle to die in.
LONG = ["0-20", "0.5-20", "1-20"]

#: Seconds after the answer to a cancel in which FFmpeg ends: one, and half of one for the looking
#: on a machine whose cores are all at work.
CANCEL_S = 1.5

MakeStack = Callable[[str], Stack]


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=20.0, size=(1280, 720), codec=SLOW_TO_CUT)


def _left_behind(stack: Stack) -> list[Path]:
    """Files that no job nor upload accounts for."""
    places = (stack.folder / "data/work", stack.folder / "data/files/.partial")
    return [path for place in places for path in place.rglob("*") if path.is_file()]


def _ffmpegs(process: Process) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.child.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            if child.name().startswith("ffmpeg"):
                found.append(child)
    return found


@pytest.mark.slow
def test_cloudflare_that_dies_in_mid_submission_costs_no_job_and_gets_the_next_one(
    make_stack: MakeStack, emulator: EmulatorProcess, video: Path
) -> None:
    stack = make_stack("cloudflare")
    stack.start_worker()
    stack.start_web()
    upload = stack.upload(video)
    assert stack.status()["healthy"] is True
    emulator.faults(
        {"route": "publish", "kind": "hang", "probability": 1.0},
        {"route": "batch", "kind": "hang", "probability": 1.0},
    )
    answers: list[dict[str, Any]] = []
    request = {"upload_id": upload["id"], "clips": ["0-1", "1-2", "2-3"]}
    submission = threading.Thread(target=lambda: answers.append(stack.submit(**request)))
    submission.start()
    wait_for(lambda: _hung(emulator) > 0, what="the submission reaches Cloudflare")
    emulator.kill()
    submission.join(60)

    job = stack.ended(answers[0]["id"])

    check_done_once(stack, job)
    assert {step["route"] for step in job["steps"]} == {"eager"}
    assert [step["attempts"] for step in job["steps"]] == [1, 1, 1]
    web_log = stack.web.log if stack.web else ""
    assert "⚠️ Cloudflare Queues not available: " in web_log
    assert "🔄 Falling back to direct processing..." in web_log
    assert stack.status()["healthy"] is False

    emulator.start()
    wait_for(lambda: stack.status()["healthy"], what="Cloudflare is found again")
    next_job = stack.ended(stack.submit(**request)["id"])

    check_done_once(stack, next_job)
    assert {step["route"] for step in next_job["steps"]} == {"cloudflare"}
    assert emulator.api_token not in stack.logs


@pytest.mark.slow
def test_messages_whose_acceptance_was_lost_do_not_run_a_second_time(
    make_stack: MakeStack, emulator: EmulatorProcess, video: Path
) -> None:
    stack = make_stack("cloudflare")
    stack.start_worker()
    stack.start_web()
    upload = stack.upload(video)
    emulator.faults(
        {"route": "publish", "kind": "drop_after", "probability": 1.0},
        {"route": "batch", "kind": "drop_after", "probability": 1.0},
    )

    submitted = stack.submit(upload_id=upload["id"], clips=["0-3", "1-4", "2-5", "3-6"])
    job = stack.ended(submitted["id"])
    emulator.clear_faults()
    wait_for(lambda: _waiting(emulator) == 0, 120, "the worker takes the twins")

    after = stack.job(job["id"])
    check_done_once(stack, after)
    assert [step["attempts"] for step in after["steps"]] == [1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["redis", "cloudflare"])
def test_a_killed_worker_leaves_its_step_to_another(
    mode: str, make_stack: MakeStack, video: Path
) -> None:
    stack = make_stack(mode)
    workers = [stack.start_worker("-c", "1"), stack.start_worker("-c", "1")]
    stack.start_web()
    upload = stack.upload(video)
    job_id = stack.submit(upload_id=upload["id"], clips=LONG)["id"]
    wait_for(in_the_middle(stack, job_id, 2), 60, "both workers cut")

    workers[0].kill()
    job = stack.ended(job_id)

    check_done_once(stack, job)
    assert sum(step["attempts"] for step in job["steps"]) == len(LONG) + 1
    assert {step["route"] for step in job["steps"]} == {mode}


@pytest.mark.slow
def test_what_a_killed_web_server_was_cutting_is_resumed_at_its_next_start(
    make_stack: MakeStack, video: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)
    job_id = stack.submit(upload_id=upload["id"], clips=LONG)["id"]
    wait_for(in_the_middle(stack, job_id, 1), 60, "a cut")
    assert stack.web
    stack.web.kill()

    stack.start_web()
    job = stack.ended(job_id)

    check_done_once(stack, job)
    assert max(step["attempts"] for step in job["steps"]) == 2


@pytest.mark.slow
def test_a_web_server_that_is_told_to_stop_gives_its_steps_back(
    make_stack: MakeStack, video: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)
    job_id = stack.submit(upload_id=upload["id"], clips=LONG)["id"]
    wait_for(in_the_middle(stack, job_id, 1), 60, "a cut")
    assert stack.web
    stack.web.stop()
    assert _left_behind(stack) == []

    stack.start_web()

    assert all(step["state"] != "failed" for step in stack.job(job_id)["steps"])
    check_done_once(stack, stack.ended(job_id))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis", "redis, hung", "cloudflare"])
def test_a_cancelled_job_stops_ffmpeg_and_leaves_no_file(
    mode: str, make_stack: MakeStack, video: Path, request: pytest.FixtureRequest
) -> None:
    mode, _, hung = mode.partition(", ")
    stack = make_stack(mode)
    if mode != "eager":
        stack.start_worker()
    stack.start_web()
    runner = stack.workers[0] if stack.workers else stack.web
    assert runner
    upload = stack.upload(video)
    job_id = stack.submit(upload_id=upload["id"], clips=LONG)["id"]
    wait_for(in_the_middle(stack, job_id, 1), 60, "a cut")
    assert _ffmpegs(runner)
    if hung:
        request.getfixturevalue("redis_server").hang()
        # Longer than one beat, which carries an event: Redis hangs when the cut goes on.
        percent = _percent(stack, job_id)
        wait_for(lambda: _percent(stack, job_id) > percent, 20, "the cut goes on")

    answer = httpx.post(f"{stack.url}/api/jobs/{job_id}/cancel", timeout=30.0)
    wait_for(lambda: not _ffmpegs(runner), CANCEL_S, "FFmpeg ends")

    assert answer.json()["state"] == "cancelled"
    wait_for(lambda: not _left_behind(stack), 5, "partial files are gone")
    assert outputs(stack) == []
    assert stack.job(job_id)["state"] == "cancelled"
    messages = stack.watch(job_id)
    assert [message["type"] for message in messages] == ["snapshot"]


def _percent(stack: Stack, job_id: str) -> float:
    return float(stack.job(job_id)["percent"])


def _hung(emulator: EmulatorProcess) -> int:
    """Calls that a fault has met."""
    return sum(rule["fired"] for rule in emulator.faults_in_force())


def _waiting(emulator: EmulatorProcess) -> int:
    """Messages of tasks, leased ones included."""
    return int(emulator.stats()["messages"].get("cutmv-processing", 0))
