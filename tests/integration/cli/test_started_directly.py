"""Workers and web servers that Celery's and gunicorn's own commands start: refused in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cutmv.database import HEAD, open_engine
from tests.support.fork_server import run_python
from tests.support.processes import clean_env, free_port

#: Of a broker that nobody reaches.
REDIS = {"REDIS_URL": "redis://127.0.0.1:9/0"}
SHORT = "whsec_" + "c2hvcnQ="
FAR = "https://cut.example.com"
#: A transport that pushes need, far from here, with a key that is easily guessed.
EDGE = {
    "CLOUDFLARE_ACCOUNT_ID": "a" * 32,
    "CLOUDFLARE_API_TOKEN": "a-made-up-token",
    "CLOUDFLARE_API_BASE_URL": "http://127.0.0.1:9",
    "CLOUDFLARE_EDGE_URL": FAR,
    "CLOUDFLARE_EDGE_KEYS": SHORT,
}
WORKER = ("celery", "-A", "cutmv", "worker")
WEB = ("gunicorn", "-c", "python:cutmv.web.server", "cutmv.web.wsgi:app")


def newer(folder: Path) -> None:
    """A database of a version that is yet to come."""
    open_engine(f"sqlite:///{folder / 'cutmv.db'}").dispose()
    with sqlite3.connect(folder / "cutmv.db") as db:
        db.execute(f"update alembic_version set version_num = '{HEAD + 1}'")
    db.close()


def broken(folder: Path) -> None:
    (folder / "cutmv.db").write_bytes(b"no database" * 1000)


def nothing(_: Path) -> None:
    pass


#: A command, its settings, what makes its data directory, and what is told.
CASES = [
    (WORKER, {**REDIS, "CUTMV_MAX_RETRIES": "many"}, nothing, "CUTMV_MAX_RETRIES is 'many'"),
    (WORKER, {**REDIS, "WEBHOOK_URL": FAR, "WEBHOOK_SECRET": SHORT}, nothing, "WEBHOOK_SECRET"),
    (WEB, {}, newer, "The database is of a newer CUTMV"),
]
OTHERS = [
    (("celery", "-A", "cutmv", "inspect", "ping"), {"CUTMV_MODE": "no"}, nothing, "CUTMV_MODE"),
    (WORKER, EDGE, nothing, "CLOUDFLARE_EDGE_KEYS"),
    (WORKER, REDIS, newer, "The database is of a newer CUTMV"),
    (WEB, {"CUTMV_MAX_RETRIES": "many"}, nothing, "CUTMV_MAX_RETRIES is 'many'"),
    (WEB, {}, broken, "The database can't be used: its file is no database."),
]


@pytest.mark.parametrize(
    ("argv", "env", "there", "told"),
    [*CASES, *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)],
)
def test_what_is_refused_is_told_in_one_line(
    tmp_path: Path,
    argv: tuple[str, ...],
    env: dict[str, str],
    there: Callable[[Path], None],
    told: str,
) -> None:
    there(tmp_path)
    if argv is WEB:
        argv = (*argv, "-b", f"127.0.0.1:{free_port()}")

    done = run_python("-m", *argv, env=clean_env(CUTMV_DATA_DIR=str(tmp_path), **env))

    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said, said
    assert [told in line for line in said.splitlines()].count(True) == 1, said
    assert SHORT not in said and "made-up" not in said
