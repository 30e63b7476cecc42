"""A whole deployment as real processes: broker, workers, web server; and a client of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import simple_websocket

from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import Process, clean_env, free_port, wait_for
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.websocket import Client

#: Seconds that a job of these tests may take on a busy machine of two cores.
JOB_S = 240.0


class Stack:
    """The processes of one deployment, which share a data directory and an environment."""

    def __init__(self, folder: Path, mode: str, env: dict[str, str]) -> None:
        self.folder, self.mode = folder, mode
        self.env = clean_env(CUTMV_DATA_DIR=str(folder / "data"), **env)
        self.app = "cutmv"
        self.web_app = "cutmv.web.wsgi:app"
        self.workers: list[Process] = []
        self.web: Process | None = None
        self.url = ""
        self._port = 0

    def start_worker(self, *options: str, ready: bool = True) -> Process:
        """Start a `celery -A cutmv worker`; return when it takes tasks, if it is to be ready."""
        number = len(self.workers) + 1
        argv = ["celery", "-A", self.app, "worker", "-l", "INFO", "-c", "2", "-n", f"w{number}@%h"]
        log = self.folder / f"worker{number}.log"
        worker = Process.python([*argv, *options], self.env, log)
        self.workers.append(worker)
        if ready:
            worker.wait_for_log(" ready.")
        return worker

    def start_web(self) -> None:
        """Start the web server, and return when it answers."""
        port = self._port = self._port or free_port()  # the same as before
        self.url = f"http://127.0.0.1:{port}"
        env = {"WEBHOOK_URL": self.url, **self.env} if self.mode == "cloudflare" else self.env
        argv = ["cutmv", "web", "--port", str(port)]
        if self.web_app != "cutmv.web.wsgi:app":
            config = ["-c", "python:cutmv.web.server", "-b", f"127.0.0.1:{port}"]
            argv = ["gunicorn", *config, self.web_app]
        self.web = Process.python(argv, env, self.folder / "web.log")
        wait_for(self._answers, what="the web server answers")

    def stop(self) -> None:
        """End all of it."""
        for process in (*self.workers, self.web):
            if process:
                process.kill()

    @property
    def logs(self) -> str:
        """What all processes printed."""
        named = [(p.log_path.name, p.log) for p in (*self.workers, self.web) if p]
        return "\n".join(f"--- {name}\n{log}" for name, log in named)

    def celery(self, *argv: str) -> str:
        """What a `celery -A cutmv` command prints."""
        return run_python("-m", "celery", "-A", "cutmv", *argv, env=self.env, check=True).stdout

    # A client

    def upload(self, video: Path) -> dict[str, Any]:
        """Send a video as the page does."""
        with video.open("rb") as file:
            answer = httpx.post(
                f"{self.url}/api/uploads",
                params={"filename": video.name},
                content=file,
                headers={"content-type": "video/mp4"},
                timeout=60.0,
            )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def submit(self, **request: Any) -> dict[str, Any]:
        """Create a job."""
        answer = httpx.post(f"{self.url}/api/jobs", json=request, timeout=60.0)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it stands."""
        return dict(httpx.get(f"{self.url}/api/jobs/{job_id}", timeout=30.0).json())

    def status(self) -> dict[str, Any]:
        """What /api/queue-status answers."""
        return dict(httpx.get(f"{self.url}/api/queue-status", timeout=30.0).json())

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""

        def final() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in ("done", "failed", "cancelled") else None

        return wait_for(final, JOB_S, f"job {job_id} ends\n{self.logs}")

    def watch(self, job_id: str) -> list[dict[str, Any]]:
        """All messages of the job's WebSocket, to its end."""
        socket = Client(f"{self.url.replace('http', 'ws')}/ws/jobs/{job_id}")
        messages = []
        try:
            while (text := socket.receive(timeout=JOB_S)) is not None:
                messages.append(json.loads(text))
        except simple_websocket.ConnectionClosed:
            pass
        finally:
            if socket.connected:
                socket.close()
        return messages

    def download(self, step: dict[str, Any], folder: Path) -> Path:
        """The output of a finished step, as a file."""
        path = folder / step["output"]["name"]
        answer = httpx.get(self.url + step["output"]["url"], timeout=60.0, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        path.write_bytes(answer.content)
        assert path.stat().st_size == step["output"]["size"]
        return path

    def _answers(self) -> bool:
        assert self.web and self.web.child.poll() is None, self.web and self.web.log
        try:
            # 503: it runs, and a neighbour is away.
            return httpx.get(f"{self.url}/healthz", timeout=5.0).status_code in (200, 503)
        except httpx.HTTPError:
            return False


def outputs(stack: Stack) -> list[Path]:
    """All files that the deployment keeps of any job."""
    return [path for path in (stack.folder / "data/files/jobs").rglob("*") if path.is_file()]


def in_the_middle(stack: Stack, job_id: str, steps: int) -> Callable[[], bool]:
    """Whether so many steps are being cut, none of them at its start or near its end."""

    def look() -> bool:
        job = stack.job(job_id)
        running = [s for s in job["steps"] if s["state"] == "running" and 2 < s["percent"] < 70]
        assert job["state"] in ("queued", "running"), stack.logs
        return len(running) >= steps

    return look


def check_done_once(stack: Stack, job: dict[str, Any]) -> None:
    """Check that a job is done, and that each of its outputs is there once."""
    assert (job["state"], job["error"]) == ("done", None), stack.logs
    names = [step["output"]["name"] for step in job["steps"]]
    kept = [path for path in outputs(stack) if job["id"] in path.parts]
    assert sorted(path.name for path in kept) == sorted(names)


def check_messages(messages: list[dict[str, Any]], moves: int = 5) -> None:
    """A snapshot first and last, and percentages that only grow, through real steps."""
    assert messages[0]["type"] == messages[-1]["type"] == "snapshot"
    seen: dict[str, list[float]] = {}
    for message in messages:
        of_job = message["type"] == "snapshot"
        for step in message["job"]["steps"] if of_job else [message]:
            seen.setdefault(step["id" if of_job else "step_id"], []).append(step["percent"])
    assert all(percents == sorted(percents) for percents in seen.values())
    between = {(step, p) for step, percents in seen.items() for p in percents if 0.0 < p < 100.0}
    assert len(between) >= moves, "the bars did not move"


def on_r2(stack: Stack, url: str) -> Stack:
    """Have a deployment keep its files in the S3 server at `url`."""
    r2 = {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET, "R2_BUCKET": BUCKET}
    stack.env |= {**r2, "R2_ENDPOINT_URL": url}
    return stack


@pytest.fixture
def make_stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Stack]]:
    """`make_stack(mode)`: an empty deployment of a mode, whose broker runs and nothing else."""
    stacks: list[Stack] = []

    def make(mode: str) -> Stack:
        env: dict[str, str] = {}
        if mode == "redis":
            env = {"REDIS_URL": request.getfixturevalue("redis_url")}
        elif mode == "cloudflare":
            emulator: EmulatorProcess = request.getfixturevalue("emulator")
            env = emulator.env()
        stack = Stack(tmp_path, mode, env)
        stacks.append(stack)
        return stack

    yield make
    for stack in stacks:
        stack.stop()
