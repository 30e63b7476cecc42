"""CUTMV through the edge Worker: the web app publishes, the Worker pushes, the hub tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker.test_main_job import (
    CLIPS,
    SECONDS,
    SHAPES,
    check_messages,
    check_output,
)
from tests.support.edge_worker import KEY, Worker
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.line import Line
from tests.support.media import SLOW_TO_CUT, make_sample, read_frames
from tests.support.processes import Process, free_port, wait_for
from tests.support.queues import make_pushed
from tests.support.stack import Stack, check_done_once, in_the_middle
from tests.support.websocket import Client

pytestmark = pytest.mark.edge

QUEUE = "cutmv-processing"
#: A clip that takes some seconds, so that there is a middle to die in, and is short enough to push.
LONG = "0-15"
#: Seconds in which a message comes again, a dead worker's claim ends, and its step is cut anew.
AGAIN_S = 120


class EdgeStack(Stack):
    """A deployment in push mode: the Worker reaches its one worker by a line that can be cut."""

    def __init__(
        self, folder: Path, emulator: EmulatorProcess, make_worker: Callable[..., Worker]
    ) -> None:
        self.ingress_port = free_port()
        self.line = Line(self.ingress_port)
        self.edge = make_worker(INGRESS_URL=f"http://127.0.0.1:{self.line.port}")
        self.emulator = emulator
        make_pushed(emulator, QUEUE)
        env = {
            **emulator.env(),
            "CLOUDFLARE_EDGE_URL": self.edge.url,
            "CLOUDFLARE_EDGE_KEYS": KEY,
            "CLOUDFLARE_CONSUME": "push",
            "CLOUDFLARE_INGRESS_PORT": str(self.ingress_port),
        }
        super().__init__(folder, "cloudflare", env)

    def published_by_rest(self) -> int:
        """Messages that the REST API was given."""
        return int(self.emulator.stats()["published"])

    def run_cut(self, step_id: str) -> None:
        """Send a step once more, as a message that comes a second time."""
        code = "import sys; from cutmv.worker.tasks import cut; cut.apply_async((sys.argv[1],))"
        run_python("-c", code, step_id, env=self.env, check=True)

    def succeeded(self, worker: Process) -> int:
        """How many tasks a worker has ended well."""
        return worker.log.count(" succeeded in ")

    def stop(self) -> None:
        """End all of it."""
        super().stop()
        self.line.close()


@pytest.fixture
def stack(
    tmp_path: Path, emulator: EmulatorProcess, make_worker: Callable[..., Worker]
) -> Iterator[EdgeStack]:
    stack = EdgeStack(tmp_path, emulator, make_worker)
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=20.0, size=(1280, 720), codec=SLOW_TO_CUT)


def start(stack: EdgeStack, video: Path, **request: Any) -> str:
    """Start a web server and a job of one step; returns the job's id."""
    stack.start_web()
    upload = stack.upload(video)
    return str(stack.submit(upload_id=upload["id"], **{"clips": [LONG], **request})["id"])


@pytest.mark.slow
def test_the_main_job_s_outputs_are_exact_through_the_worker(
    stack: EdgeStack, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    video = tmp_path_factory.mktemp("video") / "My Song (live).mp4"
    make_sample(video, seconds=9.0, size=(1920, 1080), rate="30000/1001")
    stack.start_worker()

    job_id = start(stack, video, clips=CLIPS, aspects=list(SHAPES))
    messages = stack.watch(job_id)

    check_messages(messages, moves=1)  # one at a time, each takes half a second
    done = messages[-1]["job"]
    assert (done["state"], done["percent"], done["error"]) == ("done", 100.0, None), stack.logs
    assert [step["route"] for step in done["steps"]] == ["cloudflare"] * 10
    assert [step["attempts"] for step in done["steps"]] == [1] * 10
    source = read_frames(video)
    for number, step in enumerate(done["steps"]):
        check_output(stack.download(step, tmp_path), step, SECONDS[number // 2], source, video)
    assert stack.published_by_rest() == 0, "the Worker published all of it"


def test_progress_comes_by_the_hub(stack: EdgeStack, small: Path) -> None:
    job_id = start(stack, small)
    (step,) = stack.job(job_id)["steps"]
    socket = Client(f"{stack.url.replace('http', 'ws')}/ws/jobs/{job_id}")
    assert json.loads(socket.receive(timeout=30))["type"] == "snapshot"

    # No worker runs, so the job store knows of no progress: this can come by the hub alone.
    code = (
        "import sys; from cutmv.app import app\n"
        "from cutmv.progress import EventSender, ProgressEvent\n"
        "sender = EventSender(app, 'w1')\n"
        "sender.send(ProgressEvent(sys.argv[1], sys.argv[2], 'cutting', 42.0)); sender.close()\n"
    )
    run_python("-c", code, step["id"], job_id, env=stack.env, check=True)

    while (message := json.loads(socket.receive(timeout=30)))["type"] == "snapshot":
        pass  # of the job's start, when the page was faster than it
    socket.close()
    assert (message["type"], message["percent"]) == ("progress", 42.0)
    assert stack.published_by_rest() == 0


@pytest.mark.slow
def test_a_step_that_may_take_longer_is_pulled_by_the_same_worker(
    stack: EdgeStack, tmp_path: Path
) -> None:
    # Its limit follows from its length and its size.
    video = make_sample(tmp_path / "long.mp4", seconds=40.0, size=(640, 360))
    stack.start_worker()

    done = stack.ended(start(stack, video, clips=["0-40"]))

    check_done_once(stack, done)
    assert (done["steps"][0]["route"], done["steps"][0]["attempts"]) == ("cloudflare", 1)
    wait_for(lambda: stack.emulator.stats()["messages"][f"{QUEUE}-long"] == 0, 30, "it is acked")
    assert stack.published_by_rest() == 1, "the Worker has no binding for it"


@pytest.mark.slow
def test_a_worker_killed_in_mid_job_leaves_it_to_the_next(stack: EdgeStack, small: Path) -> None:
    worker = stack.start_worker()
    job_id = start(stack, small)
    wait_for(in_the_middle(stack, job_id, 1), 60, "it is cut")

    worker.kill()
    stack.start_worker()
    done = stack.ended(job_id)

    check_done_once(stack, done)
    assert done["steps"][0]["attempts"] == 2
    assert done["steps"][0]["route"] == "cloudflare", "it came by the Worker again"


@pytest.mark.slow
def test_a_connection_to_the_ingress_cut_in_mid_job_runs_nothing_twice(
    stack: EdgeStack, small: Path
) -> None:
    worker = stack.start_worker()
    job_id = start(stack, small)
    wait_for(in_the_middle(stack, job_id, 1), 60, "it is cut")

    assert stack.line.cut() >= 1
    done = stack.ended(job_id)

    check_done_once(stack, done)
    assert done["steps"][0]["attempts"] == 1
    assert stack.edge.process
    stack.edge.wait_for_batches(QUEUE, "1/1")
    assert stack.succeeded(worker) == 1


@pytest.mark.slow
def test_the_edge_worker_killed_in_mid_job_costs_nothing_and_repeats_nothing(
    stack: EdgeStack, small: Path
) -> None:
    worker = stack.start_worker()
    job_id = start(stack, small)
    wait_for(in_the_middle(stack, job_id, 1), 60, "it is cut")

    assert stack.edge.process
    stack.edge.process.kill()
    done = stack.ended(job_id)
    check_done_once(stack, done)

    # Cloudflare would deliver again what nobody acked; the local runtime forgets it at its end.
    stack.edge.start()
    stack.run_cut(done["steps"][0]["id"])
    wait_for(lambda: stack.succeeded(worker) == 2, AGAIN_S, f"the copy ends\n{worker.log}")
    after = stack.job(job_id)
    check_done_once(stack, after)
    assert after["steps"][0]["attempts"] == 1


@pytest.mark.slow
def test_a_web_server_that_was_away_catches_up(stack: EdgeStack, small: Path) -> None:
    stack.start_web()
    stack.env["WEBHOOK_URL"] = stack.url
    worker = stack.start_worker()
    upload = stack.upload(small)
    job_id = stack.submit(upload_id=upload["id"], clips=[LONG])["id"]
    wait_for(in_the_middle(stack, job_id, 1), 60, "it is cut")

    assert stack.web
    stack.web.kill()
    wait_for(lambda: stack.succeeded(worker) == 1, AGAIN_S, f"the cut ends\n{worker.log}")
    stack.start_web()

    messages = stack.watch(job_id)
    assert [message["type"] for message in messages] == ["snapshot"], "all of it at once"
    check_done_once(stack, messages[0]["job"])
