"""A job whose broker does not take it, or dies with it, runs in the web process, once and soon."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.redis import RedisServer
from tests.support.stack import Stack

MakeStack = Callable[[str], Stack]

#: Seconds that a submission may take whose broker does not answer: the answer's own time limit
#: is five, and this machine may be busy.
SOON_S = 8.0

#: A job store that refuses to note that a step was sent.
REFUSE = """
create trigger refuse before update of enqueued_at on steps
begin select raise(abort, 'the database has an error'); end
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=3.0, size=(320, 180))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["never there", "killed", "hung"])
def test_redis_that_does_not_take_a_job_holds_it_up_for_seconds_at_most(
    how: str, make_stack: MakeStack, redis_server: RedisServer, video: Path
) -> None:
    stack = make_stack("redis")
    if how == "never there":
        redis_server.kill()
    stack.start_web()
    upload = stack.upload(video)
    if how != "never there":
        # Its connection is open, so that Redis goes away under it.
        stack.submit(upload_id=upload["id"], clips=["0-1"])
        redis_server.kill() if how == "killed" else redis_server.hang()

    asked_at = time.monotonic()
    job_id = stack.submit(upload_id=upload["id"], clips=["0-1", "1-2"])["id"]
    took_s = time.monotonic() - asked_at
    job = stack.ended(job_id)

    assert took_s < SOON_S
    assert (job["state"], job["mode"]) == ("done", "eager"), stack.logs
    assert [step["attempts"] for step in job["steps"]] == [1, 1]
    assert stack.web
    log = stack.web.log
    said = [line for line in log.splitlines() if "⚠️ Redis not available: " in line]
    assert said and all(line.partition("available: ")[2] for line in said)
    assert "🔄 Falling back to direct processing..." in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_database_that_fails_after_a_job_is_kept_is_not_told_to_its_client(
    make_stack: MakeStack, video: Path
) -> None:
    stack = make_stack("cloudflare")
    stack.start_worker()
    stack.start_web()
    upload = stack.upload(video)
    with sqlite3.connect(stack.folder / "data/cutmv.db") as db:
        db.execute(REFUSE)

    job_id = stack.submit(upload_id=upload["id"], clips=["0-1"])["id"]

    job = stack.ended(job_id)
    assert stack.status()["healthy"] is True
    assert stack.web and "not available" not in stack.web.log
    assert (job["state"], job["steps"][0]["route"]) == ("done", "cloudflare")
    assert job["steps"][0]["attempts"] == 1


@pytest.mark.slow
def test_a_job_that_could_not_be_started_is_started_when_the_database_is_well(
    make_stack: MakeStack, video: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)
    with sqlite3.connect(stack.folder / "data/cutmv.db") as db:
        db.execute(REFUSE)
    job_id = stack.submit(upload_id=upload["id"], clips=["0-1"])["id"]
    assert stack.job(job_id)["state"] == "queued"

    with sqlite3.connect(stack.folder / "data/cutmv.db") as db:
        db.execute("drop trigger refuse")

    assert stack.ended(job_id)["state"] == "done"


@pytest.mark.slow
def test_a_job_that_waits_in_a_broker_that_dies_runs_although_nobody_looks(
    make_stack: MakeStack, redis_server: RedisServer, video: Path
) -> None:
    stack = make_stack("redis")
    stack.start_web()
    upload = stack.upload(video)
    job_id = stack.submit(upload_id=upload["id"], clips=["0-1", "1-2"])["id"]
    assert stack.job(job_id)["mode"] == "redis"

    redis_server.kill()

    assert stack.web
    wait_for(lambda: "Falling back" in stack.web.log, 40, "the death of Redis is noticed")
    job = stack.ended(job_id)
    assert (job["state"], job["mode"]) == ("done", "eager")
    assert [step["attempts"] for step in job["steps"]] == [1, 1]
