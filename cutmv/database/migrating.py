"""Bring a database to the schema of this version, or back to an earlier one.

Revisions are numbered from 1, and each is a module of `migrations/versions`. A database says in
`alembic_version` which it has; one that CUTMV made before there were revisions does not, and the
first revision adds what it lacks. All processes migrate when they open the database: one does it,
in one transaction, and the others wait for its lock.
"""

import logging

import sqlalchemy as sa

#: The revision that this version of CUTMV works with: the last in `migrations/versions`.
HEAD = 14
#: The key of PostgreSQL's advisory lock, which processes that migrate take; any that is ours.
LOCK_KEY = 7_041_776

_version = sa.table("alembic_version", sa.column("version_num", sa.String))

log = logging.getLogger(__name__)


class OtherSchema(Exception):
    """The database's schema is of a version that this one does not know; one line for people."""


def migrate(engine: sa.Engine, to: int = HEAD) -> None:
    """Bring the database to revision `to`, forwards or back; nothing of it on failure.

    Raises OtherSchema when the database is of a newer version, SQLAlchemyError when it fails.
    """
    # Most often there is nothing to do: that takes no writer's lock, and works on a full disk.
    with engine.connect().execution_options(reads_only=True) as db:
        if schema_of(db) == to:
            return
    with engine.begin() as db:
        if db.dialect.name == "postgresql":
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY)))
        there = schema_of(db)  # another process may have been faster
        if there == to:
            return
        _run(db, there, to)
    log.info("the database's schema was brought from revision %d to %d", there, to)


def schema_of(db: sa.Connection) -> int:
    """The revision of a database's schema; 0 when it has none.

    Raises OtherSchema when this version does not know it, SQLAlchemyError when the database fails.
    """
    if not sa.inspect(db).has_table(_version.name):
        return 0
    told = db.scalar(sa.select(_version.c.version_num))
    if told is None:
        return 0
    if not told.isdecimal() or int(told) > HEAD:
        raise OtherSchema(
            f"The database is of a newer CUTMV: its schema has revision {told}, and this version"
            f" knows {HEAD} at most. Run the newer version, or bring the database back with its"
            f" `cutmv database --to {HEAD}`."
        )
    return int(told)


def _run(db: sa.Connection, there: int, to: int) -> None:
    # It takes as long to import as SQLAlchemy does, and is seldom needed.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": db})
    config.set_main_option("script_location", "cutmv.database:migrations")
    move = command.upgrade if to > there else command.downgrade
    move(config, str(to))
