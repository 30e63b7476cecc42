"""Which errors of a database pass by themselves, so that the same call works a little later."""

import sqlite3

import sqlalchemy as sa

#: What is raised when the database does not answer; the same call works once it does.
DATABASE_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)

#: SQLite's result codes of what passes (https://sqlite.org/rescode.html): another has the lock,
#: and will give it back. All else stays until a person does something.
SQLITE_PASSES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
}
#: SQLSTATEs of PostgreSQL that pass (its appendix A), by their beginning: the connection is lost
#: (08), the transaction met another (40), there are too many connections (53300), a lock is not to
#: be had in time (55P03), the statement was stopped (57014), the server ends or starts (57P).
POSTGRES_PASSES = ("08", "40", "53300", "55P03", "57014", "57P01", "57P02", "57P03", "57P05")

#: SQLite's codes for a disk without room, on which it may not even begin to read, and PostgreSQL's.
SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
POSTGRES_FULL = "53100"


def database_full(error: BaseException) -> bool:
    """Whether this error says that the database's disk has no room."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", None) in SQLITE_FULL
    return getattr(cause, "sqlstate", None) == POSTGRES_FULL


def passes(error: BaseException) -> bool:
    """Whether this error of the database passes by itself: busy, locked, the connection lost.

    A full disk, a read-only or damaged file, a missing table do not; nor does what is none of the
    database's errors.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return True  # all connections of the pool are in use
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        # The lowest byte is the code, the others tell more about it.
        return getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in SQLITE_PASSES
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return str(state).startswith(POSTGRES_PASSES)
    # The server said nothing: it is not there, or the connection was lost.
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
