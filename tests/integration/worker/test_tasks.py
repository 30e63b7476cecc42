"""The Celery tasks, run by a real worker: limits, retries, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from cutmv.jobs import JobStore
from cutmv.jobs.claims import Claimed, Claims
from cutmv.worker.sending import HARD_LIMIT_GRACE_S
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.media import SLOW_TO_CUT, make_sample
from tests.support.processes import Process, wait_for
from tests.support.s3 import KEY_ID, SECRET, Line
from tests.support.stack import Stack
from tests.support.transport import connect

MakeStack = Callable[[str], Stack]

#: A clip whose cut takes some seconds.
LONG = "0-24"

#: Sends the task of a step, with limits of the test's own.
SEND = """
import json, sys
from cutmv.worker.tasks import cut
step_id, options = json.loads(sys.argv[1])
cut.apply_async((step_id,), task_id=step_id, **options)
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "song.mp4"
    return make_sample(path, seconds=25.0, size=(1280, 720), codec=SLOW_TO_CUT)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is stored in a single part.

    moto dates each upload of parts from 2010, so the janitor takes it for one that was left.
    """
    return make_sample(tmp_path_factory.mktemp("tasks") / "short.mp4", seconds=6.0)


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    """A web server on Redis, and no worker yet."""
    stack = make_stack("redis")
    stack.start_web()
    return stack


def kept(stack: Stack, video: Path, *clips: str) -> dict[str, Any]:
    """A job that is in the store, and whose messages are gone."""
    job = stack.submit(upload_id=stack.upload(video)["id"], clips=list(clips))
    stack.celery("purge", "-f")
    return job


def send(stack: Stack, step_id: str, **options: Any) -> None:
    run_python("-c", SEND, json.dumps([step_id, options]), env=stack.env, check=True)


def store_of(stack: Stack) -> JobStore:
    return JobStore(f"sqlite:///{stack.folder / 'data' / 'cutmv.db'}")


def cutters(worker: Process) -> list[psutil.Process]:
    """The pool's processes that have FFmpeg at work."""
    pool = psutil.Process(worker.child.pid).children()
    return [child for child in pool if child.children()]


def test_a_task_s_limits_are_in_proportion_to_its_clip(
    make_stack: MakeStack, emulator: EmulatorProcess, short: Path
) -> None:
    stack = make_stack("cloudflare")
    stack.start_web()
    job = stack.submit(upload_id=stack.upload(short)["id"], clips=["0-1", "0-6"])

    limits = {}
    with connect(emulator) as connection:
        channel = connection.channel()
        while (message := channel.basic_get("cutmv-processing")) is not None:
            limits[message.headers["id"]] = message.headers["timelimit"]

    (hard_short, short), (hard_long, long) = (limits[step["id"]] for step in job["steps"])
    assert 0 < short < long
    assert (hard_short, hard_long) == (short + HARD_LIMIT_GRACE_S, long + HARD_LIMIT_GRACE_S)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"soft_time_limit": 2, "time_limit": 60}, "longer than its time limit and was stopped"),
        ({"time_limit": 2}, "far longer than its time limit and was killed"),
    ],
    ids=["soft", "hard"],
)
def test_a_cut_that_passes_a_limit_fails_once_and_for_all(
    stack: Stack, video: Path, limits: dict[str, float], said: str
) -> None:
    job = kept(stack, video, LONG)
    worker = stack.start_worker()
    send(stack, job["steps"][0]["id"], **limits)

    ended = stack.ended(job["id"])

    assert ended["state"] == "failed"
    assert said in ended["steps"][0]["error"]
    assert ended["steps"][0]["attempts"] == 1
    wait_for(lambda: not cutters(worker), 10, "FFmpeg has ended")


@pytest.mark.slow
def test_a_pool_s_process_that_is_killed_costs_a_start_and_no_job(
    stack: Stack, video: Path
) -> None:
    worker = stack.start_worker()
    job = stack.submit(upload_id=stack.upload(video)["id"], clips=[LONG])
    (victim,) = wait_for(lambda: cutters(worker), 30, "it is cut")

    family = [victim, *victim.children(recursive=True)]
    for process in family:
        os.kill(process.pid, signal.SIGKILL)

    ended = stack.ended(job["id"])
    assert ended["state"] == "done", stack.logs
    assert ended["steps"][0]["attempts"] == 2


@pytest.mark.slow
def test_a_step_that_another_runs_is_tried_again_when_its_claim_has_ended(
    stack: Stack, video: Path
) -> None:
    job = kept(stack, video, "1-2")
    step_id = job["steps"][0]["id"]
    with closing(store_of(stack)) as store:
        assert isinstance(Claims(store, "another", lease_s=4.0).claim(step_id, "redis"), Claimed)
    claimed = time.monotonic()
    worker = stack.start_worker()
    send(stack, step_id)

    ended = stack.ended(job["id"])

    assert ended["state"] == "done", stack.logs
    assert time.monotonic() - claimed >= 4.0
    assert ended["steps"][0]["attempts"] == 2
    assert "Retry" in worker.log


@pytest.mark.slow
def test_a_step_whose_upload_is_gone_is_not_tried_again(stack: Stack, video: Path) -> None:
    job = kept(stack, video, "1-2")
    for source in (stack.folder / "data").rglob("source"):
        source.unlink()
    stack.start_worker()
    send(stack, job["steps"][0]["id"])

    ended = stack.ended(job["id"])

    assert ended["steps"][0]["error"] == ("The upload is no longer kept: upload the video again.")
    assert ended["steps"][0]["attempts"] == 1


#: An FFmpeg for a machine that has no room for it.
BROKEN = "#!/bin/sh\necho 'Input/output error' >&2\nexit 1\n"


@pytest.mark.slow
def test_a_step_that_fails_is_tried_again_as_often_as_is_set(
    make_stack: MakeStack, short: Path, tmp_path: Path
) -> None:
    stack = make_stack("redis")
    stack.start_web()
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(BROKEN)
    ffmpeg.chmod(0o755)
    stack.env |= {"CUTMV_MAX_RETRIES": "1", "CUTMV_FFMPEG": str(ffmpeg), "CUTMV_SANDBOX": "off"}
    worker = stack.start_worker()
    wide = {"clips": ["1-2"], "aspects": ["16:9"]}  # what is copied needs no program
    job_id = stack.submit(upload_id=stack.upload(short)["id"], **wide)["id"]

    wait_for(lambda: stack.job(job_id)["steps"][0]["stage"] == "waits to retry", 30)
    ended = stack.ended(job_id)

    assert (ended["state"], ended["steps"][0]["attempts"]) == ("failed", 2), stack.logs
    assert "Given up after 2 tries: " in ended["steps"][0]["error"]
    assert worker.log.count("try 2 of 2 follows") == 1


@pytest.mark.slow
def test_steps_that_wait_for_the_storage_for_long_say_so_and_give_way(
    make_stack: MakeStack, short: Path, s3_line: Line
) -> None:
    stack = make_stack("eager")
    stack.env |= {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET}
    stack.env |= {"R2_ENDPOINT_URL": s3_line.url}
    stack.start_web()
    upload = stack.upload(short)
    s3_line.cut()
    job_id = stack.submit(upload_id=upload["id"], clips=["1-2", "2-3", "3-4"])["id"]

    # Two run at once: the third only waits for the storage when one of them has given way.
    def waiting() -> bool:
        stages = [step["stage"] for step in stack.job(job_id)["steps"]]
        return stages == ["waits for storage"] * 3

    wait_for(waiting, 90, "each waits for the storage")
    s3_line.mend()

    ended = stack.ended(job_id)
    assert ended["state"] == "done", stack.logs
    assert [step["attempts"] for step in ended["steps"]] == [1, 1, 1]
    assert stack.web
    # The checks of `/healthz` have a line of their own.
    assert stack.web.log.count("patience: the storage is away: ") == 1
    assert stack.web.log.count("patience: the storage answers again, after ") == 1
