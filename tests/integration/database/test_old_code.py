"""The version before runs on what this one has left, once the database is brought back for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cutmv.config import Settings
from cutmv.jobs import Claimed, Claims, JobRequest, State, plan_job
from cutmv.services import Services
from tests.support.command import cutmv
from tests.support.processes import Process, free_port, wait_for
from tests.support.released import HERE, code
from tests.support.stack import Stack


class OldStack:
    """Processes of the version before, in the place of those of a stack."""

    def __init__(self, stack: Stack, old: Path) -> None:
        self._stack = stack
        self._env = {**stack.env, "PYTHONPATH": str(old)}
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.processes: list[Process] = []

    def start(self, name: str, *argv: str) -> Process:
        """Start one of its commands."""
        log = self._stack.folder / f"old-{name}.log"
        process = Process([sys.executable, "-m", *argv], self._env, log, cwd=self._stack.folder)
        self.processes.append(process)
        return process

    def start_web(self) -> None:
        """Start its web server; return when it answers."""
        web = self.start("web", "cutmv", "web", "--port", str(self._port))
        web.wait_for_log("Booting worker")
        wait_for(lambda: self.get("/healthz"), what=f"it answers\n{web.log}")

    def get(self, path: str) -> Any:
        """The JSON of an address, while there is some."""
        try:
            answer = httpx.get(self.url + path, timeout=30.0)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def stop(self) -> None:
        """End all of it."""
        for process in self.processes:
            process.stop()

    @property
    def logs(self) -> str:
        """What all printed."""
        return "\n".join(process.log for process in self.processes)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis"])
def test_jobs_in_flight_are_finished_by_the_version_before_and_shown_by_this_one(
    make_stack: Callable[[str], Stack], tmp_path: Path, mode: str
) -> None:
    stack = make_stack(mode)
    old = OldStack(stack, code(tmp_path / "old"))
    # What this version leaves: a job that waits, over Redis in messages, and one whose worker died.
    stack.start_web()
    upload = stack.upload(HERE / "song.mp4")
    asked = stack.submit(upload_id=upload["id"], clips=["0-1", "1-2"], aspects=["1:1", "9:16"])
    assert stack.web and stack.web.stop() == 0
    services = Services.open(Settings.from_env(stack.env))
    request = JobRequest(upload_id=upload["id"], clips=("0-0.5",))
    killed = services.store.add_job(plan_job(services.store.upload(upload["id"]), request))
    dead = Claims(services.store, "dead@there/1/1", lease_s=0.1)
    assert isinstance(dead.claim(killed.steps[0].id, mode), Claimed)
    services.store.close()

    back = cutmv("database", "--to", "1", CUTMV_DATA_DIR=stack.env["CUTMV_DATA_DIR"])
    assert back.returncode == 0, back.stderr
    try:
        if mode == "redis":
            argv = ("celery", "-A", "cutmv", "worker", "-c", "1", "-l", "INFO")
            old.start("worker", *argv).wait_for_log(" ready.", 90.0)
        old.start_web()
        for job_id in (asked["id"], killed.id):
            path = f"/api/jobs/{job_id}"
            wait_for(lambda: old.get(path)["state"] == "done", 120.0, f"it is done\n{old.logs}")  # noqa: B023
            for step in old.get(path)["steps"]:
                made = httpx.get(old.url + step["output"]["url"], timeout=30.0)
                assert (made.status_code, len(made.content)) == (200, step["output"]["size"])
        assert "Traceback" not in old.logs
    finally:
        old.stop()

    # And then on again.
    services = Services.open(Settings.from_env(stack.env))
    for job_id, count in ((asked["id"], 4), (killed.id, 1)):
        job = services.store.job(job_id)
        assert (job.state, job.error, job.person_id) == (State.DONE, None, None)
        kept = [each.key for each in services.storage.list(f"jobs/{job_id}/")]
        assert len(kept) == len(job.steps) == count
    services.store.close()
