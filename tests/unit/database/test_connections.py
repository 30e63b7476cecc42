"""How many connections to SQLite there are, and what stays open of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.database import engine as opening
from cutmv.database import open_engine, passes


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'some.db'}")
    yield engine
    engine.dispose()


def reading(engine: sa.Engine) -> sa.Connection:
    return engine.connect().execution_options(reads_only=True)


def descriptors(engine: sa.Engine) -> int:
    """How many of this process there are of the database's file."""
    file = os.path.realpath(engine.url.database or "")
    links = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:  # that of the folder itself
            continue
    return links.count(file)


def test_many_threads_leave_few_descriptors(engine: sa.Engine) -> None:
    """Also while another connection is open, which keeps SQLite from closing them."""
    together = threading.Barrier(opening.SQLITE_CONNECTIONS - 1)

    def read(*, first: bool) -> None:
        with reading(engine) as db:
            db.exec_driver_sql("select 1")
            if first:
                together.wait(20)

    with reading(engine) as held:
        held.exec_driver_sql("select * from alembic_version").all()
        for number in (together.parties, 100):
            first = number == together.parties
            threads = [
                threading.Thread(target=read, kwargs={"first": first}) for _ in range(number)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        assert descriptors(engine) <= opening.SQLITE_CONNECTIONS
    assert descriptors(engine) == 0


def test_who_waits_in_vain_is_told_to_come_again(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "SQLITE_BUSY_S", 0.05)
    held = [engine.connect() for _ in range(opening.SQLITE_CONNECTIONS)]
    with pytest.raises(sa.exc.TimeoutError) as caught:
        engine.connect()
    assert passes(caught.value)
    for each in held:
        each.close()
    engine.connect().close()


def test_a_connection_that_can_not_be_opened_takes_no_place(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "SQLITE_BUSY_S", 0.05)
    file = Path(engine.url.database or "")
    file.rename(file.with_suffix(".away"))
    file.mkdir()
    for _ in range(2 * opening.SQLITE_CONNECTIONS):
        with pytest.raises(sa.exc.OperationalError):
            engine.connect()
    file.rmdir()
    engine.connect().close()
