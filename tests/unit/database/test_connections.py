"""How many connections to SQLite there are, and what stays open of them."""

from __future__ import annotations

import os
import subprocess
import sys
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
    engine.dispose()
    assert descriptors(engine) == 0


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """An engine whose callers wait for a connection for a moment."""
    monkeypatch.setattr(opening, "SQLITE_BUSY_S", 0.05)
    engine = open_engine(f"sqlite:///{tmp_path / 'some.db'}")
    yield engine
    engine.dispose()


#: Forks while a connection waits for its next use and another is used; both go on to write.
FORKS = """
import gc, os, sys
from cutmv.database import open_engine
engine = open_engine(sys.argv[1])
with engine.begin() as db:
    db.exec_driver_sql("create table notes (text)")
with engine.connect().execution_options(reads_only=True) as used:
    used.exec_driver_sql("select * from notes").all()
    child = os.fork()
    with engine.begin() as db:
        db.exec_driver_sql("insert into notes values (?)", (f"{bool(child)}",))
    if not child:
        gc.collect()
        engine.dispose()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
with engine.begin() as db:
    db.exec_driver_sql("insert into notes values ('after')")
    print(sorted(db.exec_driver_sql("select text from notes").scalars()))
    print(db.exec_driver_sql("pragma integrity_check").scalar())
"""


def test_a_child_has_connections_of_its_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'some.db'}"
    program = [sys.executable, "-W", "ignore", "-c", FORKS, url]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.splitlines() == ["['False', 'True', 'after']", "ok"], done.stderr


def test_a_file_that_took_the_place_of_another_is_found(engine: sa.Engine) -> None:
    """Somebody brings a copy back while a process has connections to the file before."""
    file = Path(engine.url.database or "")
    with engine.begin() as db:
        db.exec_driver_sql("create table notes (text)")
    file.rename(file.with_suffix(".away"))
    for log in file.parent.glob("some.db-*"):
        log.unlink()
    open_engine(str(engine.url)).dispose()

    with engine.begin() as db:
        assert not db.exec_driver_sql("select * from sqlite_master where name = 'notes'").all()


def test_who_waits_in_vain_is_told_to_come_again(impatient: sa.Engine) -> None:
    engine = impatient
    held = [engine.connect() for _ in range(opening.SQLITE_CONNECTIONS)]
    with pytest.raises(sa.exc.TimeoutError) as caught:
        engine.connect()
    assert passes(caught.value)
    for each in held:
        each.close()
    engine.connect().close()


def test_a_connection_that_can_not_be_opened_takes_no_place(impatient: sa.Engine) -> None:
    engine = impatient
    engine.dispose()
    file = Path(engine.url.database or "")
    file.rename(file.with_suffix(".away"))
    file.mkdir()
    for _ in range(2 * opening.SQLITE_CONNECTIONS):
        with pytest.raises(sa.exc.OperationalError):
            engine.connect()
    file.rmdir()
    engine.connect().close()
