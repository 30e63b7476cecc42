"""Which errors of a database pass by themselves."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from cutmv.database import passes


class Raised(Exception):
    """An error of the driver for PostgreSQL, with the code that the server told."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("hush")
        self.sqlstate = sqlstate


def of_sqlite(path: Path, *statements: str) -> BaseException:
    """The error of the last statement."""
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    try:
        with engine.connect() as db:
            for statement in statements:
                db.exec_driver_sql(statement)
    except sa.exc.DBAPIError as error:
        return error
    finally:
        engine.dispose()
    raise AssertionError("nothing failed")


def test_a_busy_sqlite_passes(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("begin immediate")

    assert passes(of_sqlite(tmp_path / "db", "create table a (b)"))

    other.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("pragma max_page_count = 1", "create table a (b)", "create table c (d)"),
        ("select * from nothing",),
        ("pragma query_only = on", "create table a (b)"),
        ("create table a (b unique)", "insert into a values (1)", "insert into a values (1)"),
    ],
    ids=["full", "no such table", "read-only", "unique"],
)
def test_a_sqlite_that_needs_somebody_does_not_pass(
    tmp_path: Path, statements: tuple[str, ...]
) -> None:
    assert not passes(of_sqlite(tmp_path / "db", *statements))


def test_a_sqlite_file_that_is_none_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"no database" * 1000)

    assert not passes(of_sqlite(tmp_path / "db", "select * from a"))
    assert not passes(of_sqlite(tmp_path / "no-such" / "db", "select 1"))


@pytest.mark.parametrize(
    ("sqlstate", "passing"),
    [
        (None, True),  # no connection
        ("57P01", True),  # admin_shutdown
        ("57P03", True),  # cannot_connect_now
        ("08006", True),  # connection_failure
        ("40P01", True),  # deadlock_detected
        ("53300", True),  # too_many_connections
        ("53100", False),  # disk_full
        ("58030", False),  # io_error
        ("25006", False),  # read_only_sql_transaction
        ("42P01", False),  # undefined_table
        ("XX001", False),  # data_corrupted
        ("28P01", False),  # invalid_password
    ],
)
def test_what_postgresql_tells_decides_whether_it_passes(
    sqlstate: str | None, passing: bool
) -> None:
    error = sa.exc.OperationalError("select secret", {}, Raised(sqlstate))

    assert passes(error) is passing


def test_a_postgresql_that_is_not_there_passes() -> None:
    engine = sa.create_engine("postgresql+psycopg://cutmv@127.0.0.1:9/cutmv")

    with pytest.raises(sa.exc.OperationalError) as caught:
        engine.connect()

    assert isinstance(caught.value.orig, psycopg.OperationalError)
    assert passes(caught.value)


def test_a_pool_whose_connections_are_all_in_use_passes_and_other_errors_do_not() -> None:
    assert passes(sa.exc.TimeoutError())
    assert not passes(OSError("disk"))
    assert not passes(sa.exc.NoSuchTableError("jobs"))
