"""A deployment whose neighbours a test can cut off, and a job whose steps halt on their way."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
import simple_websocket
import sqlalchemy as sa

from cutmv.jobs import JobStore
from cutmv.jobs.tables import steps
from cutmv.worker.patience import PATIENCE_S
from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.halting_points import POINTS, WEB_POINTS
from tests.support.processes import free_port, slowness, wait_for
from tests.support.queues import make_pushed
from tests.support.redis import RedisServer
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line
from tests.support.stack import Stack, outputs
from tests.support.websocket import Client

#: Seconds after a neighbour's return in which each job has ended.
SOON_S = 30.0
#: A neighbour with which the steps die that it runs.
HOST = "worker's host"
#: A clip for each point, and one that waits for its turn.
CLIPS = [f"{n * 0.2:.1f}-{n * 0.2 + 1:.1f}" for n in range(len(POINTS) + 1)]

Cut = Callable[[], Callable[[], None]]


class Deployment:
    """A stack of one mode; `neighbours` has what cuts each off and returns what mends it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.neighbours: dict[str, Cut] = {}
        self.database_url = f"sqlite:///{stack.folder / 'data' / 'cutmv.db'}"
        self._halt_dir = stack.folder / "halt"
        self._halt_dir.mkdir()
        self._outages = 0
        stack.env["HALT_DIR"] = str(self._halt_dir)
        stack.env["CUTMV_MAX_JOBS"] = "100"  # none waits for the one that halts
        stack.app, stack.web_app = "tests.support.halting", "tests.support.halting:web()"

    def start(self, video: Path) -> None:
        """Start what the mode has, and keep an upload."""
        self.stack.start_web()
        if self.stack.mode != "eager":
            # One slot for each step that halts: the last step waits in the broker.
            self._start_worker()
        self.upload = self.stack.upload(video)
        self.video = video

    def survive(self, neighbour: str, seconds: float, *, deadly: bool = False) -> str:
        """Cut a neighbour for so long with a step at each point, and check all that must hold.

        If it is `deadly` the processes that run the steps are killed at once, and others started.
        Returns a row for a table: how long after the neighbour's return the jobs had ended.
        """
        stack = self.stack
        job = stack.submit(upload_id=self.upload["id"], clips=CLIPS)
        halting = [step["id"] for step in job["steps"][: len(POINTS)]]
        wait_for(
            lambda: all((self._halt_dir / f"{step} reached").exists() for step in halting),
            60 * slowness(),
            f"each step is at its point\n{stack.logs}",
        )
        with ThreadPoolExecutor() as clients:
            others = [] if deadly else self._halted_clients(clients)
            watcher = None if deadly else self._watcher(job["id"])
            mend = self.neighbours[neighbour]()
            cut_at = time.monotonic()
            if deadly:
                self._replace_runner()
            for halted in self._halt_dir.glob("* reached"):
                self._go(halted.name.removesuffix(" reached"))
            self._go(job["id"])
            others.append(clients.submit(self._new_job))
            time.sleep(max(0.0, cut_at + seconds - time.monotonic()))
            mend()
            returned = time.monotonic()
            accepted = [each.result(SOON_S * slowness()) for each in others]
        for each in (job, *accepted):
            ended = stack.ended(each["id"])
            # A start whose end can't be noted for long is followed by one that finds its output.
            unnoted = neighbour == "database" and seconds > PATIENCE_S
            dies = deadly or neighbour == HOST
            self._check(ended, neighbour, most_attempts=2 if dies or unnoted else 1)
        took_s = time.monotonic() - returned
        if watcher is not None:
            self._check_end(watcher, neighbour)
        assert took_s < SOON_S * slowness(), f"{neighbour}: {took_s:.0f} s\n{stack.logs}"
        return f"{stack.mode:10} {neighbour:13} {seconds:3.0f} s: {took_s:5.1f} s after its return"

    def _halted_clients(self, clients: ThreadPoolExecutor) -> list[Future[dict[str, Any]]]:
        """People in the middle of an upload, and of sending a job, at each point of that."""
        self._outages += 1
        names = [f"{point}-{self._outages}.mp4" for point in WEB_POINTS]
        others = [clients.submit(self._new_job, name) for name in names]
        half = f"half-{self._outages}.mp4"
        others.append(clients.submit(self._new_job, half, self._in_halves(half)))
        for name in (*names, half):
            wait_for((self._halt_dir / f"{name} reached").exists, 60, f"{name} is at its point")
        return others

    def _in_halves(self, name: str) -> Iterator[bytes]:
        content = self.video.read_bytes()
        yield content[: len(content) // 2]
        (self._halt_dir / f"{name} reached").touch()
        wait_for((self._halt_dir / f"{name} go").exists, 60)
        yield content[len(content) // 2 :]

    def _new_job(
        self, name: str = "song.mp4", content: Iterator[bytes] | None = None
    ) -> dict[str, Any]:
        """Upload and submit as a patient person does: again while the answer is 503."""
        url, upload_id = self.stack.url, None
        key = {"idempotency-key": uuid4().hex}
        length = {"content-length": str(self.video.stat().st_size), **key}
        while True:
            if upload_id is None:
                answer = httpx.post(
                    f"{url}/api/uploads?filename={name}",
                    content=content or self.video.read_bytes(),
                    headers=length,
                    timeout=120,
                )
                content = None
                upload_id = answer.json().get("id")
            else:
                wanted = {"upload_id": upload_id, "clips": ["0-1", "1-2"]}
                answer = httpx.post(f"{url}/api/jobs", json=wanted, headers=key, timeout=120)
                if answer.status_code == 201:
                    job = dict(answer.json())
                    self._go(job["id"])  # the points are for another job's steps
                    return job
            assert answer.status_code in (201, 503), answer.text
            if answer.status_code == 503:
                time.sleep(0.5)

    def _go(self, name: str) -> None:
        (self._halt_dir / f"{name} go").touch()

    def _watcher(self, job_id: str) -> Client:
        """A WebSocket that has had its first message."""
        watcher = Client(f"{self.stack.url.replace('http', 'ws')}/ws/jobs/{job_id}")
        assert json.loads(watcher.receive(timeout=30 * slowness()))["type"] == "snapshot"
        return watcher

    @staticmethod
    def _check_end(watcher: Client, neighbour: str) -> None:
        """The watcher was not sent away, and heard of the end."""
        last: dict[str, Any] = {}
        with suppress(simple_websocket.ConnectionClosed):
            while text := watcher.receive(timeout=SOON_S):
                last = json.loads(text)
        assert (last["type"], last["job"]["state"]) == ("snapshot", "done"), neighbour

    def _replace_runner(self) -> None:
        if self.stack.mode == "eager":
            assert self.stack.web
            self.stack.web.kill()
            self.stack.start_web()
        else:
            self.kill_worker()()

    def kill_worker(self) -> Callable[[], None]:
        """End the host of the worker; returns what starts another."""
        self.stack.workers[-1].kill()
        return lambda: self._start_worker(ready=False)

    def _start_worker(self, *, ready: bool = True) -> None:
        self.stack.start_worker("-c", str(len(POINTS)), ready=ready)

    def _check(self, job: dict[str, Any], neighbour: str, *, most_attempts: int) -> None:
        told = f"{neighbour}\n{self.stack.logs}"
        assert (job["state"], job["error"]) == ("done", None), told
        names = sorted(step["output"]["name"] for step in job["steps"])
        assert sorted(self._outputs(job["id"])) == names, told
        with closing(JobStore(self.database_url)) as store, store.reading() as db:
            rows = db.execute(sa.select(steps).where(steps.c.job_id == job["id"])).all()
        assert [row.failures for row in rows] == [0] * len(rows), told
        assert all(1 <= row.attempts <= most_attempts for row in rows), told

    def _outputs(self, job_id: str) -> list[str]:
        if "R2_ENDPOINT_URL" not in self.stack.env:
            return [path.name for path in outputs(self.stack) if job_id in path.parts]
        client = boto3.client(
            "s3",
            endpoint_url=self.stack.env["R2_ENDPOINT_URL"],
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
        )
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"jobs/{job_id}/")
        return [stored["Key"].rsplit("/", 1)[1] for stored in found.get("Contents", [])]


@pytest.fixture
def deploy(
    make_stack: Callable[[str], Stack], request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Deployment]]:
    """`deploy(mode)`: a deployment, not started yet, with a line to each of its neighbours."""
    with ExitStack() as lines:

        def line(target: str | int | Path) -> Line:
            made = Line(target)
            lines.callback(made.close)
            return made

        def make(mode: str) -> Deployment:
            if mode in ("edge", "push"):
                deployment = Deployment(make_stack("cloudflare"))
                _with_edge(deployment, request, line, pushes=mode == "push")
                return deployment
            deployment = Deployment(make_stack(mode))
            env, neighbours = deployment.stack.env, deployment.neighbours
            if mode == "eager":
                neighbours["storage"] = lambda: _moved(deployment.stack.folder / "data/files")
            else:
                s3 = line(request.getfixturevalue("s3_url"))
                env |= {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET}
                env["R2_ENDPOINT_URL"] = s3.url
                neighbours["storage"] = lambda: cut_off(s3)
            if mode == "redis":
                _with_redis(deployment, request.getfixturevalue("redis_server"), line)
                postgres = sa.make_url(request.getfixturevalue("postgres_url"))
                socket = Path(str(postgres.query["host"])) / ".s.PGSQL.5432"
                database = line(socket)
                by_line = postgres.set(host="127.0.0.1", port=database.port, query={})
                env["DATABASE_URL"] = by_line.render_as_string(hide_password=False)
                deployment.database_url = postgres.render_as_string(hide_password=False)
                neighbours["database"] = lambda: cut_off(database)
            else:
                path = deployment.stack.folder / "data/cutmv.db"
                neighbours["database"] = lambda: _locked(path)
            if mode == "cloudflare":
                emulator: EmulatorProcess = request.getfixturevalue("emulator")
                api = line(int(emulator.base_url.split(":")[2].split("/")[0]))
                env["CLOUDFLARE_API_BASE_URL"] = f"{api.url}/client/v4"
                neighbours["API"] = lambda: cut_off(api)
                port = deployment.stack._port = free_port()
                webhook = line(port)
                env["WEBHOOK_URL"] = webhook.url
                neighbours["webhook"] = lambda: cut_off(webhook)
            return deployment

        yield make


def _with_edge(
    deployment: Deployment,
    request: pytest.FixtureRequest,
    line: Callable[[str | int], Line],
    *,
    pushes: bool,
) -> None:
    """Have the deployment use an edge Worker, which pushes its tasks to the worker or does not."""
    make_worker: Callable[..., Worker] = request.getfixturevalue("make_worker")
    emulator: EmulatorProcess = request.getfixturevalue("emulator")
    stack, neighbours = deployment.stack, deployment.neighbours
    queue, port = "cutmv-outages", free_port()
    stack.env |= {"CLOUDFLARE_EDGE_KEYS": KEY, "CLOUDFLARE_QUEUE_NAME": queue}
    if pushes:
        ingress = line(port)
        # The local runtime pushes one batch after the other: all steps that halt are in one.
        queues = {queue: {"max_batch_size": 100, "max_batch_timeout": 1}}
        edge = line(make_worker(queues, INGRESS_URL=ingress.url).url)
        make_pushed(emulator, queue)
        stack.env |= {"CLOUDFLARE_CONSUME": "push", "CLOUDFLARE_INGRESS_PORT": str(port)}
        neighbours["ingress"] = lambda: cut_off(ingress)
    else:
        edge = line(make_worker().url)  # it has no binding for the queue, which is pulled
    neighbours["edge"] = lambda: cut_off(edge)
    if pushes:
        neighbours[HOST] = deployment.kill_worker
    stack.env["CLOUDFLARE_EDGE_URL"] = edge.url


def _with_redis(deployment: Deployment, server: RedisServer, line: Callable[[int], Line]) -> None:
    redis = line(int(server.url.split(":")[2].split("/")[0]))
    deployment.stack.env["REDIS_URL"] = f"redis://127.0.0.1:{redis.port}/0"
    deployment.neighbours["Redis"] = lambda: cut_off(redis)

    def killed() -> Callable[[], None]:
        server.kill()
        return server.start

    deployment.neighbours["Redis, which forgets all"] = killed


def cut_off(line: Line) -> Callable[[], None]:
    """Cut a line; returns what mends it."""
    line.cut()
    return line.mend


def _moved(folder: Path) -> Callable[[], None]:
    away = folder.with_name("away")
    folder.rename(away)

    def mend() -> None:
        away.rename(folder)

    return mend


def _locked(path: Path) -> Callable[[], None]:
    """Hold the lock of a SQLite database's only writer."""
    db = sqlite3.connect(path, timeout=60, check_same_thread=False)
    db.execute("begin immediate")

    def mend() -> None:
        db.rollback()
        db.close()

    return mend
