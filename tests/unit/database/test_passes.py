"""Which errors of a database pass by themselves."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from cutmv.database import cause, passes


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
    ("statements", "why"),
    [
        (
            ("pragma max_page_count = 1", "create table a (b)", "create table c (d)"),
            "its disk is full",
        ),
        (("select * from absent",), "a table is missing"),
        (("pragma query_only = on", "create table a (b)"), "it is read-only"),
        (("create table a (b unique)", *["insert into a values (1)"] * 2), None),
    ],
)
def test_a_sqlite_that_needs_somebody_does_not_pass_and_tells_why(
    tmp_path: Path, statements: tuple[str, ...], why: str | None
) -> None:
    error = of_sqlite(tmp_path / "db", *statements)

    assert (passes(error), cause(error)) == (False, why)


def test_a_sqlite_file_that_is_none_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"no database" * 1000)

    found = [cause(of_sqlite(tmp_path / path, "select * from a")) for path in ("db", "none/db")]

    assert found == ["its file is no database", "its file can't be opened"]


@pytest.mark.parametrize(
    ("sqlstate", "passing", "why"),
    [
        (None, True, None),  # no connection
        ("57P01", True, None),  # admin_shutdown
        ("57P03", True, None),  # cannot_connect_now
        ("08006", True, None),  # connection_failure
        ("40P01", True, None),  # deadlock_detected
        ("53300", True, None),  # too_many_connections
        ("53100", False, "its disk is full"),
        ("58030", False, "its disk fails"),
        ("25006", False, "it is read-only"),
        ("42P01", False, "a table is missing"),
        ("XX001", False, "it is damaged"),
        ("28P01", False, None),  # invalid_password
    ],
)
def test_what_postgresql_tells_decides_whether_it_passes(
    sqlstate: str | None, passing: bool, why: str | None
) -> None:
    error = sa.exc.OperationalError("select secret", {}, Raised(sqlstate))

    assert (passes(error), cause(error)) == (passing, why)


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
