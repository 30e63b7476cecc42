"""Jobs whose files are in R2: the worker shares nothing with the web server but the stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from tests.support.media import frame_number, make_sample, read_frames
from tests.support.processes import wait_for
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line
from tests.support.stack import Stack, on_r2

SIZE = (640, 360)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=6.0, size=SIZE)


def _keys(url: str, prefix: str) -> list[str]:
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET
    )
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [stored["Key"] for stored in found.get("Contents", [])]


@pytest.mark.slow
def test_uploads_outputs_and_results_are_kept_in_r2(
    make_stack: Callable[[str], Stack], video: Path, s3_url: str, tmp_path: Path
) -> None:
    stack = on_r2(make_stack("cloudflare"), s3_url)
    stack.start_worker("-l", "DEBUG")
    stack.start_web()

    kept_before = _keys(s3_url, "uploads/")
    upload = stack.upload(video)
    job = stack.ended(stack.submit(upload_id=upload["id"], clips=["1-2", "3-4"], still=True)["id"])

    assert job["state"] == "done", stack.logs
    made = read_frames(stack.download(job["steps"][0], tmp_path))
    assert [frame_number(frame, SIZE) for frame in made] == list(range(30, 60))
    assert len(_keys(s3_url, f"jobs/{job['id']}/")) == 4
    assert len(_keys(s3_url, "uploads/")) == len(kept_before) + 1
    for step in job["steps"]:
        assert any(step["id"] in key for key in _keys(s3_url, "results/")), "no Celery result"
    assert not list((stack.folder / "data").rglob("*.mp4"))
    assert SECRET not in stack.logs
    assert "X-Amz-Signature" not in stack.logs


@pytest.mark.slow
def test_a_step_whose_r2_is_away_says_so_and_uses_up_no_try(
    make_stack: Callable[[str], Stack], video: Path, s3_line: Line
) -> None:
    stack = on_r2(make_stack("cloudflare"), s3_line.url)
    worker = stack.start_worker()
    stack.start_web()
    upload = stack.upload(video)
    s3_line.cut()
    job_id = stack.submit(upload_id=upload["id"], clips=["1-2"])["id"]
    wait_for(lambda: stack.job(job_id)["steps"][0]["stage"] == "waits for storage", 60)

    s3_line.mend()
    job = stack.ended(job_id)

    assert (job["state"], job["steps"][0]["attempts"]) == ("done", 1), stack.logs
    assert job["steps"][0]["route"] == "cloudflare"
    assert worker.log.count("the storage is away: ") == 1
    assert worker.log.count("the storage answers again, after ") == 1
