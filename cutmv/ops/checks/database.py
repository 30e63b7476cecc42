"""The check of the database that keeps the jobs."""

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from cutmv.config import Settings
from cutmv.database import HEAD, OtherSchema, metadata, schema_of
from cutmv.jobs import Report, report
from cutmv.ops.finding import Finding, ok, problem, warning

#: Seconds that the database has to answer.
CONNECT_TIMEOUT_S = 5


def database(settings: Settings) -> Iterator[Finding]:
    """Whether the database answers, has this version's tables, and can be written."""
    what, advice = "database", "check DATABASE_URL, and that the server runs and lets you in"
    url = sa.make_url(settings.database_url)
    sqlite = url.get_backend_name() == "sqlite"
    file = Path(url.database) if sqlite and url.database else None
    if file and not file.exists() and not str(file).startswith("file:"):
        if os.access(file.parent, os.W_OK):
            yield ok(what, f"{file} is not there yet; the first start makes it")
        else:
            yield problem(what, f"{file} can't be made: its folder is missing or closed", advice)
        return
    timeout = {"timeout" if sqlite else "connect_timeout": CONNECT_TIMEOUT_S}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=timeout)
    try:
        with engine.connect() as connection:
            if other := _schema(connection):
                yield other
                return
            connection.rollback()
            # Needs the lock and the permission of a writer; deletes nothing.
            connection.execute(metadata.tables["jobs"].delete().where(sa.false()))
            connection.rollback()
            waiting = _steps(report(connection))
    except SQLAlchemyError as error:
        yield problem(what, f"{url.get_backend_name()}: {_reason(error)}", advice)
        return
    finally:
        engine.dispose()
    yield ok(what, f"{url.get_backend_name()} answers and can be written")
    yield waiting


def _steps(found: Report) -> Finding:
    """The finding about the steps that wait."""
    what, turn, storage = "waiting steps", found.waiting["turn"], found.waiting["storage"]
    room = found.waiting["room"]
    if found.stranded:
        told = f"{found.stranded} wait, one for {turn.oldest_s:.0f} s, and no step runs"
        return problem(what, told, "start `cutmv worker`, or see its log and that of `cutmv web`")
    if storage.count:
        told = f"{storage.count} wait for the storage, one for {storage.oldest_s:.0f} s"
        return warning(what, told, "see the line of the bucket, or of the data directory")
    if room.count:
        told = f"{room.count} wait for room on a worker's machine, one for {room.oldest_s:.0f} s"
        return warning(what, told, "free its disk (CUTMV_DATA_DIR); its log says what is full")
    return ok(what, f"{turn.count} wait for their turn" if turn.count else "there are none")


def _schema(connection: sa.Connection) -> Finding | None:
    """The finding about a schema that is not this version's; None when it is."""
    try:
        revision = schema_of(connection)
    except OtherSchema as error:
        return problem("database", str(error), "run the newer version here, too")
    if revision == HEAD:
        return None
    if not sa.inspect(connection).has_table("jobs"):
        return ok("database", "is empty; the first start makes its tables")
    found = f"its schema has revision {revision} of {HEAD}: it is of an earlier version"
    return problem("database", found, "restart `cutmv web` and the workers, which migrate it")


def _reason(error: SQLAlchemyError) -> str:
    """The first line of the driver's message; SQLAlchemy's own adds statements and links."""
    cause = getattr(error, "orig", None)
    return (str(cause or "").splitlines() or [type(error).__name__])[0]
