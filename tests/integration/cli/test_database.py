"""`cutmv database`, and what the other commands say of a database that they can't use."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cutmv.database import HEAD, open_engine
from tests.support.fork_server import run_python
from tests.support.processes import clean_env


def run(folder: Path, *argv: str) -> tuple[int, str]:
    env = clean_env(CUTMV_DATA_DIR=str(folder), REDIS_URL="redis://127.0.0.1:9/0")
    done = run_python("-m", "cutmv", *argv, env=env)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_the_schema_is_brought_back_and_forwards(tmp_path: Path) -> None:
    told = [run(tmp_path, "database", *to) for to in ((), ("--to", "1"), ())]

    line = "The database's schema has revision {} of {}."
    assert told == [(0, line.format(to, HEAD)) for to in (HEAD, 1, HEAD)]


@pytest.mark.parametrize("command", ["up", "web", "worker", "database"])
def test_a_database_of_a_newer_version_is_refused_in_one_line(tmp_path: Path, command: str) -> None:
    open_engine(f"sqlite:///{tmp_path / 'cutmv.db'}").dispose()
    with sqlite3.connect(tmp_path / "cutmv.db") as db:
        db.execute(f"update alembic_version set version_num = '{HEAD + 1}'")
    db.close()

    code, told = run(tmp_path, command)

    assert (code, len(told.splitlines())) == (1, 1), told
    assert told.startswith("Error: The database is of a newer CUTMV")


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cutmv.db").write_bytes(b"no database" * 1000)

    told = run(tmp_path, "web")

    assert told == (1, "Error: The database can't be used: its file is no database.")
