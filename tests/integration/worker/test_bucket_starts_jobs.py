"""A file put into the bucket is cut by a real worker, whoever dies meanwhile, and goes with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cutmv.jobs import JobStore, uploads_of_key
from cutmv.people import Accounts
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.media import make_sample, read_frames
from tests.support.objects import Bucket, tell
from tests.support.processes import wait_for
from tests.support.stack import Stack, on_r2

SIZE = (640, 360)
QUEUE = "cutmv-processing-incoming"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("video")
    return make_sample(folder / "song.mp4", seconds=6.0, size=SIZE).read_bytes()


@pytest.fixture
def stack(make_stack: Callable[[str], Stack], s3_url: str) -> Stack:
    stack = on_r2(make_stack("cloudflare"), s3_url)
    stack.env["CUTMV_INCOMING_PREFIX"] = f"incoming-{uuid4().hex}"
    return stack


def _jobs(stack: Stack) -> list[dict[str, Any]]:
    return list(httpx.get(f"{stack.url}/api/jobs", timeout=30).json()["jobs"])


def test_a_file_put_into_a_preset_s_folder_is_cut_and_goes_with_its_object(
    stack: Stack, emulator: EmulatorProcess, video: bytes, s3_url: str, tmp_path: Path
) -> None:
    stack.start_worker()
    stack.start_web()
    bucket, key = Bucket(s3_url), f"{stack.env['CUTMV_INCOMING_PREFIX']}/reels/song.mp4"
    bucket.put(key, video)
    bucket.put(f"{key}.jpg", b"no video")

    put = bucket.event("PutObject", key)
    tell(emulator, QUEUE, put, put, bucket.event("CompleteMultipartUpload", key))
    tell(emulator, QUEUE, bucket.event("PutObject", f"{key}.jpg"))
    [job] = wait_for(lambda: _jobs(stack), 60, "there is a job")
    job = stack.ended(job["id"])

    assert (job["state"], len(job["steps"])) == ("done", 1), stack.logs
    made = read_frames(stack.download(job["steps"][0], tmp_path))
    assert len(made) == 180
    assert len(_jobs(stack)) == 1
    assert stack.logs.count("song.mp4.jpg is no upload: ") == 1
    wait_for(lambda: not emulator.stats()["messages"][QUEUE], 30, "all are acked")

    bucket.delete(key)
    tell(emulator, QUEUE, bucket.event("DeleteObject", key))

    wait_for(lambda: not _jobs(stack), 30, "the job is gone")
    wait_for(lambda: not bucket.keys(f"jobs/{job['id']}/"), 30, "its output is gone")
    assert emulator.stats()["messages"][f"{QUEUE}-dead"] == 0, stack.logs


def test_a_worker_that_is_killed_leaves_the_object_to_another(
    stack: Stack, emulator: EmulatorProcess, video: bytes, s3_url: str
) -> None:
    worker = stack.start_worker()
    stack.start_web()
    bucket, folder = Bucket(s3_url), stack.env["CUTMV_INCOMING_PREFIX"]
    keys = [f"{folder}/master/song-{number}.mp4" for number in range(6)]
    for key in keys:
        bucket.put(key, video)
    events = [bucket.event("PutObject", key) for key in keys]
    tell(emulator, QUEUE, *events)
    wait_for(lambda: "is upload" in worker.log, 60, "one has begun")
    worker.kill()

    tell(emulator, QUEUE, *events)  # as when the leases have ended
    stack.start_worker()

    jobs = wait_for(lambda: len(found := _jobs(stack)) == 6 and found, 120, f"six\n{stack.logs}")
    for job in jobs:
        assert stack.ended(job["id"])["state"] == "done", stack.logs
    assert {job["upload"]["filename"] for job in jobs} == {key.rpartition("/")[2] for key in keys}


def test_what_a_person_has_to_mend_is_a_dead_letter_that_is_replayed(
    stack: Stack, emulator: EmulatorProcess, video: bytes, s3_url: str
) -> None:
    stack.env["CUTMV_INCOMING_OWNER"] = "ann@example.com"
    worker = stack.start_worker()
    bucket, key = Bucket(s3_url), f"{stack.env['CUTMV_INCOMING_PREFIX']}/song.mp4"
    bucket.put(key, video)
    tell(emulator, QUEUE, bucket.event("PutObject", key), {"no": "event"})
    wait_for(lambda: emulator.stats()["messages"].get(f"{QUEUE}-dead") == 2, 60, worker.log)
    assert "CUTMV_INCOMING_OWNER is ann@example.com, and there is no such account" in worker.log
    assert "it is no event of R2's" in worker.log
    store = JobStore(f"sqlite:///{stack.folder / 'data/cutmv.db'}")
    ann = Accounts(store.engine).add("ann@example.com", password="correct horse battery")
    replayed = ["-m", "cutmv", "queues", "replay", QUEUE]

    run_python(*replayed, env=stack.env, check=True)

    [upload_id] = wait_for(lambda: uploads_of_key(store, key), 60, worker.log)
    assert store.upload(upload_id).person_id == ann.id
    store.close()


def test_a_video_that_no_preset_takes_whole_is_cut_into_what_is_suggested(
    stack: Stack, emulator: EmulatorProcess, s3_url: str, tmp_path: Path
) -> None:
    stack.start_worker()
    stack.start_web()
    video = make_sample(tmp_path / "song.mp4", seconds=32.0, size=(320, 180))
    bucket, key = Bucket(s3_url), f"{stack.env['CUTMV_INCOMING_PREFIX']}/canvas/song.mp4"
    bucket.put(key, video.read_bytes())

    tell(emulator, QUEUE, bucket.event("CopyObject", key))

    [job] = wait_for(lambda: _jobs(stack), 120, f"there is a job\n{stack.logs}")
    job = stack.ended(job["id"])
    assert (job["state"], len(job["steps"])) == ("done", 2), stack.logs
    wait_for(lambda: not emulator.stats()["messages"][QUEUE], 30, "all are acked")
