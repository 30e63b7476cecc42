"""The engine of a database, as SQLite and PostgreSQL need it, and the tables' common metadata."""

import os
import random
import sqlite3
import threading
import time
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
#: Connections of a process to a SQLite file. It keeps the descriptor of each that is closed while
#: another is open, since closing it would end the locks of all, and uses it again for the next: so
#: the most that were ever open at once stay. More threads than this gain nothing, as one writes.
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
            pool_pre_ping=True,
            pool_size=5,
            max_overflow=20,
            connect_args=POSTGRES_LIMITS,
            json_deserializer=read_json,
        )
        # A child must not talk on its parent's connections, nor close them.
        os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    else:
        # Opening a SQLite file is cheap, and a connection that nobody keeps can't be forked.
        engine = sa.create_engine(
            url,
            poolclass=FewConnections,
            connect_args={"timeout": SQLITE_BUSY_S},
            json_deserializer=read_json,
        )
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        # Another thread of the parent may have had some.
        os.register_at_fork(after_in_child=engine.dispose)
    migrate(engine)
    return engine


class FewConnections(sa.NullPool):
    """Keeps no connection, and has SQLITE_CONNECTIONS of them at most.

    Who wants one more waits SQLITE_BUSY_S seconds for it at most. Raises sqlalchemy's TimeoutError.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._free = threading.BoundedSemaphore(SQLITE_CONNECTIONS)

    def _do_get(self) -> sa.pool.ConnectionPoolEntry:
        if not self._free.acquire(timeout=SQLITE_BUSY_S):
            raise sa.exc.TimeoutError("All connections to the database are in use.")
        try:
            return super()._do_get()
        except BaseException:
            self._free.release()
            raise

    def _do_return_conn(self, record: sa.pool.ConnectionPoolEntry) -> None:
        try:
            super()._do_return_conn(record)
        finally:
            self._free.release()


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver must not begin transactions by itself: see _begin_sqlite.
    connection.isolation_level = None
    # Bytes that are no UTF-8 would fail the whole of an answer.
    connection.text_factory = lambda text: text.decode(errors="replace")
    _write_ahead(connection)
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")


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
