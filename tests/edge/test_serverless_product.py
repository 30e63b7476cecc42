"""CUTMV without a machine: the site and its workers run in containers, which the Worker starts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.container_host import SITE_PORT, ContainerHost, ContainerWorker
from tests.support.edge_worker import KEY, install
from tests.support.emulator import EmulatorProcess
from tests.support.media import make_sample
from tests.support.objects import Bucket
from tests.support.processes import free_port, wait_for
from tests.support.queues import make_pushed
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.stack import Stack

pytestmark = [pytest.mark.edge, pytest.mark.slow]

QUEUE = "cutmv-processing"
INCOMING = f"{QUEUE}-incoming"
SLEEP_S = 5


class ServerlessStack(Stack):
    """A deployment of which nothing is started by hand but the Worker."""

    def __init__(self, folder: Path, emulator: EmulatorProcess, s3_url: str) -> None:
        super().__init__(folder, "cloudflare", {})
        for queue in (QUEUE, INCOMING):
            make_pushed(emulator, queue)
        self.bucket = Bucket(s3_url)
        self.host = ContainerHost(folder)
        self.url = f"http://127.0.0.1:{free_port()}"
        variables = {
            **emulator.env(),
            "CLOUDFLARE_EDGE_URL": self.url,
            "WEBHOOK_URL": self.url,
            "WEBHOOK_SECRET": KEY,
            "R2_ENDPOINT_URL": s3_url,
            "R2_ACCESS_KEY_ID": KEY_ID,
            "R2_SECRET_ACCESS_KEY": SECRET,
            "R2_BUCKET": BUCKET,
            "DATABASE_URL": f"sqlite:///{folder}/jobs.db",
            "CUTMV_DATA_DIR": str(folder / "disk"),
            "CUTMV_SECRET_KEY": "a key of the test's, of many more bytes than it needs",
            "CUTMV_INCOMING_PREFIX": "incoming/",
            "SUPERVISOR_URL": self.host.url,
            "INGRESS_URL": "",
            "CONTAINERS": "2",
            "CONTAINER_COMMAND": "cutmv worker --concurrency 2",
            "CONTAINER_SLEEP_AFTER_S": str(SLEEP_S),
            "SITE_COMMAND": f"cutmv web --port {SITE_PORT}",
            "SITE_SLEEP_AFTER_S": str(2 * SLEEP_S),
        }
        self.edge = ContainerWorker(folder / "edge", variables, {INCOMING: {}}, url=self.url)
        self.edge.start()

    def tell(self, action: str, key: str) -> None:
        """Have a message of R2's about an object pushed."""
        self.edge.publish(INCOMING, json.dumps(self.bucket.event(action, key)))

    @property
    def logs(self) -> str:
        return self.host.logs()

    def stop(self) -> None:
        super().stop()
        self.edge.stop()
        self.host.close()


@pytest.fixture
def stack(tmp_path: Path, emulator: EmulatorProcess, s3_url: str) -> Iterator[ServerlessStack]:
    install()
    stack = ServerlessStack(tmp_path, emulator, s3_url)
    yield stack
    stack.stop()


def test_a_video_is_uploaded_cut_watched_and_downloaded_and_all_sleeps_then(
    stack: ServerlessStack, tmp_path: Path
) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=6.0, size=(640, 360))
    assert stack.host.started == []

    upload = stack.upload(video)
    job_id = stack.submit(upload_id=upload["id"], clips=["1-3", "4-5.5"], gif=True)["id"]
    messages = stack.watch(job_id)

    done = messages[-1]["job"]
    assert (done["state"], done["error"]) == ("done", None), stack.logs
    assert {step["route"] for step in done["steps"]} == {"cloudflare"}
    for step in done["steps"]:
        assert stack.download(step, tmp_path).stat().st_size > 0
    assert {name for name, _ in stack.host.started} <= {"site", "worker-0", "worker-1"}

    def page() -> str:
        return httpx.get(f"{stack.url}/operators", timeout=30).text

    wait_for(lambda: "worker-0" in page(), 30, "operators see the containers")
    seen = dict(re.findall(r"(worker-\d)</span> <span class=\"hint\">([^<]*)<", page()))
    assert seen.keys() == {"worker-0", "worker-1"}
    assert {*seen.values()} <= {"awake, 0 of 2 slots in use", "asleep"}
    site = stack.host.process("site")
    wait_for(lambda: "Handling signal: term" in site.log, 90, "the site is told to sleep")
    assert stack.job(job_id)["state"] == "done", "a request that comes meanwhile starts it again"
    assert site.child.wait(1) == 0
    wait_for(lambda: stack.host.running() == ["site"], 90, "the workers sleep")
    wait_for(lambda: not stack.host.running(), 90, "all sleep")


def test_a_file_that_is_put_into_the_bucket_is_cut_though_nothing_runs(
    stack: ServerlessStack, tmp_path: Path
) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=4.0, size=(640, 360))
    key = "incoming/reels/song.mp4"
    others = {*stack.bucket.keys("jobs/")}  # of tests before, which had the same bucket

    def outputs() -> set[str]:
        return {*stack.bucket.keys("jobs/")} - others

    stack.bucket.put(key, video.read_bytes())
    assert stack.host.started == []

    for action in ("PutObject", "CompleteMultipartUpload"):
        stack.tell(action, key)
    wait_for(outputs, 120, f"an output\n{stack.logs}")

    assert stack.host.started[0][0] == "worker-0", "a worker came before the site"
    (job,) = httpx.get(f"{stack.url}/api/jobs", timeout=60).json()["jobs"]
    done = stack.ended(job["id"])
    assert (done["state"], done["error"]) == ("done", None), stack.logs
    assert len(outputs()) == len(done["steps"]), "once"
    for step in done["steps"]:
        assert stack.download(step, tmp_path).stat().st_size > 0

    stack.bucket.delete(key)
    stack.tell("DeleteObject", key)
    wait_for(lambda: not outputs(), 120, f"all of it goes\n{stack.logs}")
    assert httpx.get(f"{stack.url}/api/jobs", timeout=60).json()["jobs"] == []
    wait_for(lambda: not stack.host.running(), 90, "all sleep")
