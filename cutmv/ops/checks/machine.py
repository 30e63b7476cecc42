"""Checks of this machine: the variables, the data directory, FFmpeg, the push server."""

import shutil
import socket
import tempfile
from collections.abc import Iterator

from cutmv.config import Settings
from cutmv.media import (
    MediaUnavailable,
    ffmpeg_path,
    hardware_encoder,
    is_current,
    refuse_script,
    sandbox_missing,
    sandbox_told,
    shortcomings,
    version_of,
    version_of_libraries,
)
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.storage import Room
from cutmv.transports.cloudflare.options import Options

#: Seconds in which a port of this machine takes a connection.
CONNECT_TIMEOUT_S = 1.0


def variables(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """What the environment asks for, and variables that miss their counterpart."""
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
    if settings.webhook_url and settings.webhook_secret_is_local:
        found = "comes from this data directory's own key, which other machines do not have"
        advice = "set WEBHOOK_SECRET, the same on all of them, unless this is the only one"
        yield warning("webhook secret", found, advice)


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Whether the data directory can be written, and how much space is free."""
    what, where = "data directory", settings.data_dir
    try:
        with tempfile.TemporaryFile(dir=where) as file:
            file.write(b"cutmv doctor")
        free = shutil.disk_usage(where).free
        least = Room([where], settings.min_free_bytes).reserve(where)
    except OSError as error:
        advice = "make it writable, or set CUTMV_DATA_DIR to another"
        yield problem(what, f"{where}: {error.strerror}", advice)
        return
    found = f"{where} has {free / 1e9:.1f} GB free"
    if free < least:
        found += f", less than the {least / 1e9:.1f} below which uploads and jobs are refused"
        yield problem(what, found, "free some space, or set CUTMV_DATA_DIR to a larger disk")
    elif free < settings.max_upload_bytes:
        advice = "free some space, or set CUTMV_MAX_UPLOAD_BYTES lower"
        yield warning(what, f"{found}, less than the largest upload", advice)
    else:
        yield ok(what, found)


def ffmpeg() -> Iterator[Finding]:
    """Which FFmpeg cuts use, and whether it has what they need."""
    advice = "install FFmpeg 7.0 or newer with libx264 and zimg, or `pip install imageio-ffmpeg`"
    what = "FFmpeg"
    try:
        path = ffmpeg_path()
        version, missing = version_of(path), shortcomings(path)
    except MediaUnavailable as error:
        yield problem(what, str(error), advice)
        return
    if missing:
        yield problem(what, f"{version} at {path} lacks {', '.join(missing)}", advice)
        return
    yield _of_age(what, version, f"{version} at {path}", "install a current FFmpeg")
    try:
        refuse_script(path)
        libraries = version_of_libraries()
    except MediaUnavailable as error:
        yield problem(what, str(error), advice)
        return
    yield _of_age("FFmpeg's libraries", libraries, libraries, "`pip install --upgrade av`")
    hardware = hardware_encoder()
    told = f"{hardware.name} works" if hardware else "none works here, and software does it"
    yield ok("encoder", f"libx264; where hardware is asked for, {told}")


def sandbox() -> Iterator[Finding]:
    """Which protections hold what reads people's files."""
    what, found, missing = "sandbox", sandbox_told(), sandbox_missing()
    if not missing:
        yield ok(what, found)
        return
    advice = "unset CUTMV_SANDBOX, or use a Linux from 5.13 on whose container allows Landlock"
    yield warning(what, found, f"{advice} and seccomp: docs/media.md, The sandbox")


def _of_age(what: str, version: str, found: str, advice: str) -> Finding:
    if is_current(version):
        return ok(what, found)
    told = "no current release: it reads strangers' files without the latest security fixes"
    return warning(what, f"{found} is {told}", advice)


def push_server(options: Options | None) -> Iterator[Finding]:
    """Whether a worker listens for pushed tasks, or could."""
    what = "push server"
    if options is None or options.consume != "push":
        yield skipped(what, "messages are not pushed: CLOUDFLARE_CONSUME is not push")
        return
    address = (options.ingress_host, options.ingress_port)
    shown = f"{address[0]}:{address[1]}"
    try:
        socket.create_connection(address, CONNECT_TIMEOUT_S).close()
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
