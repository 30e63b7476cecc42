"""A deployment goes on with what the version before has left: database, jobs, messages."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import cutmv.people.tables  # noqa: F401 - its tables are part of the metadata
from cutmv.config import Settings
from cutmv.database import metadata, migrate
from cutmv.jobs import (
    ANALYSIS,
    DerivativeState,
    Job,
    JobStore,
    Record,
    Records,
    State,
    Upload,
)
from cutmv.services import Services
from cutmv.web import create_app
from cutmv.web.state import web_of
from cutmv.worker import analyse_upload, cut
from tests.support.processes import wait_for
from tests.support.released import HERE, messages, parameters, restore
from tests.support.stack import Stack

VERSIONS = ["first", "before"]
TASKS: dict[str, Any] = {"cutmv.cut": cut, "cutmv.analyse": analyse_upload}
QUEUE = "cutmv-processing"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize("version", VERSIONS)
def test_its_database_gets_this_version_s_tables_and_goes_back(
    url: str, tmp_path: Path, version: str
) -> None:
    restore(url, version, tmp_path)

    store = JobStore(url)
    with store.engine.connect() as db:
        context = MigrationContext.configure(db, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    before = store.jobs(10)
    assert before and all(step.error is None for job in before for step in job.steps)
    migrate(store.engine, 1)
    with store.engine.connect() as db:
        columns = [each["name"] for each in sa.inspect(db).get_columns("jobs")]
        assert "person_id" not in columns and not sa.inspect(db).has_table("people")
    migrate(store.engine)

    assert store.jobs(10) == before
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "url"), [("first", "sqlite"), ("before", "postgresql")], indirect=["url"]
)
def test_its_jobs_are_finished(url: str, tmp_path: Path, version: str) -> None:
    restore(url, version, tmp_path)
    env = {"CUTMV_DATA_DIR": str(tmp_path), "DATABASE_URL": url, "CUTMV_MODE": "eager"}
    services = Services.open(Settings.from_env(env))

    app = create_app(services, addresses=["127.0.0.1"], start_background=True)
    try:
        ended = wait_for(lambda: all_ended(services.store), 120.0, "the jobs end")
    finally:
        web_of(app).close()
        services.store.close()

    check_done(ended, services)


@pytest.mark.slow
def test_its_messages_are_run(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("redis")
    data = stack.folder / "data"
    data.mkdir(exist_ok=True)
    restore(f"sqlite:///{data / 'cutmv.db'}", "before", data)
    with redis.Redis.from_url(stack.env["REDIS_URL"]) as client:
        for message in messages("before"):
            client.lpush(QUEUE, json.dumps(message))

    services = Services.open(Settings.from_env(stack.env))
    analyses = Records(services.storage, ANALYSIS)
    [upload, *_] = [job.upload for job in services.store.jobs(1)]
    analyses.keep(upload, Record(DerivativeState.QUEUED))

    stack.start_worker()
    ended = wait_for(lambda: all_ended(services.store), 180.0, "the jobs end")
    wait_for(lambda: state_of(analyses, upload) is DerivativeState.DONE, 120.0, "it is analysed")
    services.store.close()

    check_done(ended, services)


@pytest.mark.parametrize("task", ["cutmv.cut", "cutmv.analyse"])
def test_what_a_later_version_adds_to_a_message_is_left_out(task: str) -> None:
    args, kwargs, _ = body(of_task(task))

    given = inspect.signature(TASKS[task].run).bind(*args, **kwargs, colour="blue")

    assert given.args == tuple(args)


def test_it_can_run_what_this_version_publishes(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("redis")
    stack.start_web()
    upload = stack.upload(HERE / "song.mp4")
    stack.submit(upload_id=upload["id"], clips=["0-1", "1-2"], aspects=["1:1", "9:16"])
    httpx.post(f"{stack.url}/api/uploads/{upload['id']}/suggestions", timeout=60.0)
    with redis.Redis.from_url(stack.env["REDIS_URL"]) as client:
        published = [json.loads(text) for text in client.lrange(QUEUE, 0, -1)]

    assert {message["headers"]["task"] for message in published} == {"cutmv.cut", "cutmv.analyse"}
    for message in published:
        task = message["headers"]["task"]
        like, (args, kwargs, embed) = of_task(task), body(message)
        parameters("before", task).bind(*args, **kwargs)
        assert embed.keys() == body(like)[2].keys()
        # Celery leaves out headers that it does not know.
        assert message["headers"].keys() >= like["headers"].keys()
        assert message["content-type"] == like["content-type"]


def of_task(task: str) -> dict[str, Any]:
    """A message of a task that the version before has published."""
    return next(each for each in messages("before") if each["headers"]["task"] == task)


def body(message: dict[str, Any]) -> Any:
    """The arguments, the keyword arguments, and what Celery adds."""
    return json.loads(base64.b64decode(message["body"]))


def state_of(analyses: Records[Any], upload: Upload) -> DerivativeState | None:
    record = analyses.of(upload)
    return record and record.state


def all_ended(store: JobStore) -> list[Job] | None:
    jobs = store.jobs(10)
    return jobs if all(job.state.final for job in jobs) else None


def check_done(jobs: list[Job], services: Services) -> None:
    assert [(job.state, job.error) for job in jobs] == [(State.DONE, None)] * len(jobs)
    for step in (step for job in jobs for step in job.steps):
        assert step.output and services.storage.stat(step.output.key).size == step.output.size
