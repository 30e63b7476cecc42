"""The job store's tables, its engine, and the clock that all of its users share."""

import os
import random
import sqlite3
import time
from typing import Any

import sqlalchemy as sa

# Celery's SQL result backend imports it at its first use, and SQLAlchemy looks it up for every
# enum: a thread of ours could find it half imported, so it is imported before there are threads.
import sqlalchemy.orm
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

#: Seconds that a SQLite writer waits for another: far longer than any transaction of ours.
SQLITE_BUSY_S = 30.0
#: How long a PostgreSQL server may be silent: seconds to connect, and milliseconds until what was
#: sent is acknowledged, then seconds of silence while it works. A network may swallow everything.
POSTGRES_LIMITS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
#: What is raised when the database does not answer; the same call works once it does.
DATABASE_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)

metadata = sa.MetaData()

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("info", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("upload_id", sa.ForeignKey("uploads.id"), nullable=False, index=True),
    sa.Column("state", sa.String(10), nullable=False, index=True),
    sa.Column("route", sa.String(10)),
    sa.Column("error", sa.Text),
    sa.Column("created_at", sa.Double, nullable=False, index=True),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("clip", sa.Text, nullable=False),
    sa.Column("start_s", sa.Double, nullable=False),
    sa.Column("end_s", sa.Double, nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("aspect", sa.String(10), nullable=False),
    sa.Column("fit", sa.String(10), nullable=False),
    # The whole of what is to be made; null in a row of an earlier version, which had no more.
    sa.Column("spec", sa.JSON(none_as_null=True)),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("stage", sa.String(20)),
    sa.Column("percent", sa.Double, nullable=False, default=0.0),
    sa.Column("fps", sa.Double),
    sa.Column("speed", sa.Double),
    sa.Column("eta_s", sa.Double),
    sa.Column("out_time_s", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("route", sa.String(10)),
    sa.Column("error", sa.Text),
    sa.Column("output_key", sa.Text),
    sa.Column("output_size", sa.BigInteger),
    sa.Column("output_type", sa.Text),
    # How it was made; null where that is not known.
    sa.Column("output_made", sa.JSON(none_as_null=True)),
    # Who has claimed it, and until when; null when nobody has.
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", sa.Double),
    # When it was last claimed.
    sa.Column("claimed_at", sa.Double),
    # When the message that a broker last took is due; null when no broker has one.
    sa.Column("enqueued_at", sa.Double),
    # Messages that followed since nobody took it; null or 0 at the first.
    sa.Column("resends", sa.Integer, nullable=False, server_default="0"),
    # Since when it waits, when that is not since its job was made.
    sa.Column("queued_at", sa.Double),
    # A part: the step that it is of, and since when and until when of that it is, as fractions.
    sa.Column("parent_id", sa.String(40), index=True),
    sa.Column("part", sa.JSON(none_as_null=True)),
    # How it is made where that was decided: in "parts", or "whole" since parts failed.
    sa.Column("division", sa.String(10)),
    sa.Index("steps_by_state", "state", "lease_until"),
    sa.Index("steps_by_claim", "claimed_at"),
)

# What encodings took, by which the next are estimated.
costs = sa.Table(
    "costs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("expected_s", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
)


class now(FunctionElement[float]):
    """Seconds since 1970 by the database's clock, which all hosts share, unlike their own."""

    type = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "(extract(epoch from clock_timestamp())::double precision)"


def open_engine(url: str) -> sa.Engine:
    """An engine for `url` with the tables made, usable from threads and after a fork."""
    if not url.startswith("sqlite"):
        engine = sa.create_engine(
            url, pool_pre_ping=True, pool_size=5, max_overflow=20, connect_args=POSTGRES_LIMITS
        )
        # A child must not talk on its parent's connections, nor close them.
        os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    else:
        # Opening a SQLite file is cheap, and a connection that nobody keeps can't be forked.
        engine = sa.create_engine(
            url, poolclass=sa.NullPool, connect_args={"timeout": SQLITE_BUSY_S}
        )
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    # Several processes may start at once on an empty database.
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(7041776)"))
        metadata.create_all(connection)
        _add_missing_columns(connection)
    return engine


def _add_missing_columns(connection: sa.Connection) -> None:
    """Bring the tables of an earlier version up to date; new columns are null or have a default."""
    inspector = sa.inspect(connection)
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                defined = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"alter table {table.name} add column {defined}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # The driver must not begin transactions by itself: see _begin_sqlite.
    connection.isolation_level = None
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
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(0.0, 0.05))


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its lock at the start; one that first reads could fail at its first write.
    reads = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql("begin" if reads else "begin immediate")
