"""The engine of a database, as SQLite and PostgreSQL need it, and the tables' common metadata."""

import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

# Celery's SQL result backend imports it at its first use, and SQLAlchemy looks it up for every
# enum: a thread of ours could find it half imported, so it is imported before there are threads.
import sqlalchemy.orm

from cutmv.database.migrating import migrate
from cutmv.database.reading import read_json
from cutmv.database.troubles import passes

#: Seconds that a SQLite writer waits for another: far longer than any transaction of ours.
SQLITE_BUSY_S = 30.0
#: Connections of a process to a SQLite file, which are kept: to open one, and have it read the
#: schema, takes longer than most of what is asked. More threads than this gain nothing, as one
#: writes; one more waits SQLITE_BUSY_S at most.
SQLITE_CONNECTIONS = 10
#: How long a PostgreSQL server may be silent: seconds to connect, and milliseconds until what was
#: sent is acknowledged, then seconds of silence while it works. A network may swallow everything.
POSTGRES_LIMITS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

#: The tables of all packages.
metadata = sa.MetaData()


def open_engine(url: str) -> sa.Engine:
    """An engine for `url`, usable from threads and after a fork; its database is migrated.

    Raises OtherSchema when the database is of a newer version, SQLAlchemyError when it fails.
    """
    if not url.startswith("sqlite"):
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=5,
            max_overflow=20,
            connect_args=POSTGRES_LIMITS,
            json_deserializer=read_json,
        )
    else:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            poolclass=sa.QueuePool,
            pool_size=SQLITE_CONNECTIONS,
            max_overflow=0,
            pool_timeout=SQLITE_BUSY_S,
            pool_use_lifo=True,
            connect_args={"timeout": SQLITE_BUSY_S},
            json_deserializer=read_json,
        )
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        sa.event.listen(engine, "checkout", _require_same_file)
    _forget_in_children(engine)
    migrate(engine)
    return engine


def _forget_in_children(engine: sa.Engine) -> None:
    """Have a child of this process neither use nor close its parent's connections."""
    left: list[sa.Pool] = []

    def forget() -> None:
        # What nobody refers to would be closed: SQLite might take its log for the last one's.
        left.append(engine.pool)
        engine.dispose(close=False)

    os.register_at_fork(after_in_child=forget)


def _require_same_file(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
    """Have another connection made where another file took the place of the one that is open.

    SQLite would go on to write to the file that is gone.
    """
    path, found = record.info["file"]
    if _inode(path) != found:
        raise sa.exc.DisconnectionError("the database's file is another one")


def _inode(path: str) -> tuple[int, int] | None:
    """The device and inode of a file; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_up_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    # The driver must not begin transactions by itself: see _begin_sqlite.
    connection.isolation_level = None
    # Bytes that are no UTF-8 would fail the whole of an answer.
    connection.text_factory = lambda text: text.decode(errors="replace")
    _write_ahead(connection)
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")
    (_, _, path), *_ = connection.execute("pragma database_list")
    record.info["file"] = path, _inode(path)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log. SQLite does not wait for other processes there, so we do."""
    deadline = time.monotonic() + SQLITE_BUSY_S
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if not passes(error) or time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(0.0, 0.05))


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its lock at the start; one that first reads could fail at its first write.
    reads = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("begin" if reads else "begin immediate")
