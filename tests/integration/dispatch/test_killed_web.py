"""A web server that is killed at any point of an upload or a submission leaves no half of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cutmv.dispatch.janitor import ORPHAN_AGE_S
from cutmv.jobs import JobStore
from tests.support.die_in_web import DERIVE_POINTS, SUBMIT_POINTS, UPLOAD_POINTS
from tests.support.fork_server import run_python
from tests.support.jobs import let_time_pass
from tests.support.media import make_sample
from tests.support.processes import clean_env, wait_for
from tests.support.stack import Stack, check_done_once

SWEEP = """
from cutmv.dispatch import Dispatcher, Janitor
from cutmv.progress import ProgressFeed
from cutmv.services import services
dispatcher = Dispatcher(services(), ProgressFeed())
Janitor(dispatcher).sweep()
dispatcher.close()
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=3.0, size=(320, 180))


@pytest.mark.parametrize("point", UPLOAD_POINTS)
def test_an_upload_whose_server_is_killed_is_kept_whole_or_leaves_nothing(
    tmp_path: Path, video: Path, point: str
) -> None:
    data = tmp_path / "data"
    env = clean_env(CUTMV_MODE="eager", CUTMV_DATA_DIR=str(data))
    died = run_python("-m", "tests.support.die_in_web", "upload", str(video), point, env=env)
    assert died.returncode == -signal.SIGKILL, died.stderr
    stored = lambda: [path for path in (data / "files").rglob("*") if path.is_file()]  # noqa: E731
    left = stored()
    assert len(left) == 1
    # What belongs to nobody may still be on its way, unless it is old.
    age = left[0].stat().st_mtime - ORPHAN_AGE_S - 1
    os.utime(left[0], (age, age))

    run_python("-c", SWEEP, env=env, check=True)

    store = JobStore(f"sqlite:///{data / 'cutmv.db'}")
    assert bool(stored()) == store.has_uploads() == (point == "after the upload is added")
    store.close()


@pytest.mark.slow
def test_a_job_whose_server_is_killed_while_it_submits_runs_once_or_was_never_accepted(
    make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack("redis")
    stack.start_web()
    upload = stack.upload(video)
    assert stack.web
    stack.web.kill()
    for point in SUBMIT_POINTS:
        argv = ["-m", "tests.support.die_in_web", "submit", upload["id"], point]
        died = run_python(*argv, env=stack.env)
        assert died.returncode == -signal.SIGKILL, died.stderr
    store = JobStore(f"sqlite:///{stack.folder / 'data' / 'cutmv.db'}")
    jobs = store.jobs(10)
    store.close()
    assert len(jobs) == len(SUBMIT_POINTS) - 1  # one was not kept, and its client was told nothing

    stack.start_worker()
    stack.start_web()

    for job in jobs:
        check_done_once(stack, stack.ended(job.id))


@pytest.mark.slow
def test_an_overview_whose_server_is_killed_while_it_asks_is_made_or_was_never_noted(
    make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack("redis")
    stack.start_web()
    uploads = {point: stack.upload(video)["id"] for point in DERIVE_POINTS}
    assert stack.web
    stack.web.kill()
    for point, upload_id in uploads.items():
        argv = ["-m", "tests.support.die_in_web", "derive", upload_id, point]
        died = run_python(*argv, env=stack.env)
        assert died.returncode == -signal.SIGKILL, died.stderr
    _let_time_pass(stack)

    stack.start_worker()
    stack.start_web()

    for point, upload_id in uploads.items():
        url = f"{stack.url}/api/uploads/{upload_id}/overview"
        if point == "before it is noted":
            assert httpx.get(url).status_code == 404
        else:
            wait_for(lambda: httpx.get(url).json().get("state") == "done", 60.0, point)  # noqa: B023


@pytest.mark.slow
def test_what_a_server_without_a_broker_was_to_make_its_successor_makes(
    make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    uploads = [stack.upload(video)["id"] for _ in range(6)]
    asked = [httpx.post(f"{stack.url}/api/uploads/{each}/proxy") for each in uploads]
    assert {each.status_code for each in asked} == {202}
    assert stack.web
    stack.web.kill()
    _let_time_pass(stack)

    stack.start_web()

    for each in uploads:
        url = f"{stack.url}/api/uploads/{each}/proxy"
        wait_for(lambda: httpx.get(url).json()["state"] == "done", 60.0, "it is made")  # noqa: B023


def _let_time_pass(stack: Stack) -> None:
    """Have those who held a derivative be dead for long."""
    store = JobStore(f"sqlite:///{stack.folder / 'data' / 'cutmv.db'}")
    let_time_pass(store)
    store.close()
