"""Errors of the database that pass by themselves, and those of a full disk."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.database import database_full, open_engine
from cutmv.database.engine import SQLITE_BUSY_S
from cutmv.jobs import JobStore


class Refused(sqlite3.OperationalError):
    """An error of SQLite's, with its code."""

    def __init__(self, code: int) -> None:
        super().__init__("refused")
        self.sqlite_errorcode = code


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE])
def test_a_full_disk_is_known_by_sqlite_s_code(code: int) -> None:
    error = sa.exc.OperationalError("select", {}, Refused(code))
    assert database_full(error)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR_READ])
def test_other_errors_are_no_full_disk(code: int) -> None:
    assert not database_full(sa.exc.OperationalError("select", {}, Refused(code)))
    assert not database_full(OSError("other"))


def test_what_does_not_pass_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "cutmv.db").mkdir()  # it can't be opened
    began = time.monotonic()
    with pytest.raises(sa.exc.OperationalError):
        open_engine(f"sqlite:///{tmp_path / 'cutmv.db'}")
    assert time.monotonic() - began < SQLITE_BUSY_S / 3


def test_a_database_in_use_keeps_its_log(tmp_path: Path) -> None:
    """Who opened it next would need room for one."""
    store = JobStore(f"sqlite:///{tmp_path / 'cutmv.db'}")
    log = tmp_path / "cutmv.db-wal"
    store.check()
    assert log.exists()
    store.close()
    assert not log.exists()
