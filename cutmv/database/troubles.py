"""Which errors of a database pass by themselves, so that the same call works a little later."""

import sqlite3

import sqlalchemy as sa

#: What is raised when the database can't be used; see `passes` for whether it can be soon.
DATABASE_AWAY = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,
    sa.exc.TimeoutError,
)

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

#: What is wrong, for people, by SQLite's result code.
_SQLITE_CAUSES = {
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is no database",
    sqlite3.SQLITE_IOERR: "its disk fails",
    sqlite3.SQLITE_CANTOPEN: "its file can't be opened",
    sqlite3.SQLITE_PERM: "its file may not be opened",
}
#: The same by PostgreSQL's SQLSTATE.
_POSTGRES_CAUSES = {
    "53200": "it has no memory left",
    "25006": "it is read-only",
    "58030": "its disk fails",
    "XX001": "it is damaged",
    "XX002": "it is damaged",
    "42P01": "a table is missing",
    "42703": "a column is missing",
    "42501": "it lets us in, but not at the tables",
}


def database_full(error: BaseException) -> bool:
    """Whether this error says that the database's disk has no room."""
    orig = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(orig, sqlite3.Error):
        return getattr(orig, "sqlite_errorcode", None) in SQLITE_FULL
    return getattr(orig, "sqlstate", None) == POSTGRES_FULL


def cause(error: BaseException) -> str | None:
    """Why the database can't be used, until somebody does something; None for other errors.

    It ends a sentence that begins with the database, and holds no statement and no address.
    """
    if not isinstance(error, sa.exc.DBAPIError) or passes(error):
        return None
    if database_full(error):
        return "its disk is full"
    if isinstance(error.orig, sqlite3.Error):
        if str(error.orig).startswith("no such table"):
            return "a table is missing"
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return _SQLITE_CAUSES.get(code & 0xFF)
    return _POSTGRES_CAUSES.get(str(getattr(error.orig, "sqlstate", "")))


def passes(error: BaseException) -> bool:
    """Whether this error of the database passes by itself: busy, locked, the connection lost.

    A full disk, a read-only or damaged file, a missing table do not; nor does what is none of the
    database's errors.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return True  # all connections of the pool are in use
    orig = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    code, state = getattr(orig, "sqlite_errorcode", None), getattr(orig, "sqlstate", None)
    if code is not None:
        return code & 0xFF in SQLITE_PASSES  # the other bytes tell more about it
    if state is not None:
        return str(state).startswith(POSTGRES_PASSES)
    # The database said nothing: it is not there, or the connection was lost.
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
