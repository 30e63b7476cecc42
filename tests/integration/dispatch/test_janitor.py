"""What the janitor deletes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fork_server import run_python
from tests.support.media import make_sample
from tests.support.stack import Stack

#: Runs in a process of its own, since an app reads its environment once.
SWEEP = """
import io, os, time
from cutmv.dispatch.janitor import Janitor, ORPHAN_AGE_S
from cutmv.dispatch import Dispatcher
from cutmv.progress import ProgressFeed
from cutmv.services import services
from cutmv.jobs.tables import jobs, uploads

here = services()
dispatcher = Dispatcher(here, ProgressFeed())
with here.store.engine.begin() as db:
    for table in (jobs, uploads):
        db.execute(table.update().values(created_at=table.c.created_at - {age}))
Janitor(dispatcher).sweep()
dispatcher.close()
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=3.0, size=(320, 180))


def _sweep(stack: Stack, age_s: float) -> None:
    code = SWEEP.format(age=age_s)
    run_python("-c", code, env=stack.env, check=True)


def _files(stack: Stack) -> list[str]:
    root = stack.folder / "data" / "files"
    return sorted(path.relative_to(root).parts[0] for path in root.rglob("*") if path.is_file())


def test_what_is_past_its_time_is_deleted_with_its_files(
    make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)
    job = stack.ended(stack.submit(upload_id=upload["id"], clips=["0-1"], still=True)["id"])
    assert stack.web
    stack.web.stop()
    data = stack.folder / "data"
    orphans = [data / "files/uploads/0123/source", data / "work/old/output.mp4"]
    for orphan in orphans:
        orphan.parent.mkdir(parents=True)
        orphan.write_bytes(b"left by an accident")
        os.utime(orphan, (0, 0))
        os.utime(orphan.parent, (0, 0))

    _sweep(stack, age_s=28 * 86_400.0)
    assert _files(stack) == ["jobs", "jobs", "uploads"]
    assert not any(orphan.exists() for orphan in orphans)
    _sweep(stack, age_s=2 * 86_400.0)

    assert _files(stack) == []
    stack.start_web()
    assert stack.job(job["id"])["status"] == 404


RESULTS = """
import sqlite3
from cutmv.app import app
from cutmv.config import Settings
app.backend.store_result("old", 1, "SUCCESS")
app.backend.store_result("new", 1, "SUCCESS")
db = sqlite3.connect(Settings.from_env().data_dir / "results.db")
with db:
    db.execute("update celery_taskmeta set date_done = '2020-01-01' where task_id = 'old'")
"""


def test_celery_s_results_do_not_grow_for_ever(make_stack: Callable[[str], Stack]) -> None:
    stack = make_stack("eager")
    run_python("-c", RESULTS, env=stack.env, check=True)

    _sweep(stack, age_s=0.0)

    with contextlib.closing(sqlite3.connect(stack.folder / "data" / "results.db")) as db:
        assert db.execute("select task_id from celery_taskmeta").fetchall() == [("new",)]
