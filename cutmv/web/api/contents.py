"""Answer with a stored file, or with the ZIP of a job's, whole or one range of it.

The application sends the bytes itself and never redirects to a presigned URL: a player asks for
ranges for as long as the page is open, so the URL would expire while it plays; whoever gets the URL
can read the file; and the policy of the page allows media of its own host alone.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain

from flask import Response, request
from werkzeug.datastructures import IfRange, Range

from cutmv.jobs import Job, archive_of
from cutmv.web.api.problems import Problem, answer
from cutmv.web.state import web

#: Bytes of a file that a player gets for one request. A paused player leaves its connection open
#: and full, which would hold a thread; so it gets a part at a time, and asks again (RFC 9110 15.3.7
#: allows a part of what was asked). Programs that download get all of it.
PLAYER_BYTES = 8 * 1024 * 1024
#: Seconds for which a browser keeps what it got: a file never changes under its key.
MAX_AGE_S = 3600


@dataclass(frozen=True)
class Content:
    """What is sent: its size in bytes, its name, a strong entity tag, when it changed.

    `opened` is given a start and a length. For `max_age_s` seconds a browser need not ask again.
    """

    filename: str
    content_type: str
    size: int
    etag: str
    modified: float
    opened: Callable[[int, int], AbstractContextManager[Iterator[bytes]]]
    max_age_s: int | None = None


def send_object(
    key: str, filename: str, content_type: str, *, download: bool, is_kept: bool = True
) -> Response:
    """Answer with the object at `key`, or with the range of it that is asked for.

    Unless it `is_kept`, and wherever people sign in, a browser asks each time whether it may show
    it: another may use it next. Raises ObjectNotFound and StorageError.
    """
    storage = web().services.storage
    stat = storage.stat(key)
    content = Content(
        filename,
        content_type,
        stat.size,
        stat.etag.strip('"'),
        stat.modified,
        partial(storage.open_range, key),
        MAX_AGE_S if is_kept and not web().door.sign_in else None,
    )
    return send(content, download=download)


def send_archive(job: Job) -> Response:
    """Answer with the ZIP of what a job has made, or with a range of it.

    Raises Problem 404 until it has ended, ObjectNotFound and StorageError.
    """
    if not job.state.final:
        raise Problem(404, f"The ZIP is not there yet: the job is {job.state}.")
    if not any(step.output for step in job.steps):
        raise Problem(404, "The job made nothing, or it was deleted.")
    services = web().services
    made = archive_of(services.store, services.storage, job)
    content = Content(
        made.filename,
        "application/zip",
        made.zip.size,
        made.zip.etag,
        made.modified_s,
        lambda start, length: closing(made.zip.read(start, length)),
    )
    return send(content, download=True)


def send(content: Content, *, download: bool) -> Response:
    """Answer with some content, or with the range of it that is asked for.

    200, 206, 304 or 416, by RFC 9110 13 to 15.
    """
    etag, size = content.etag, content.size
    response = Response(content_type=content.content_type)
    response.set_etag(etag)
    response.last_modified = datetime.fromtimestamp(content.modified, UTC)
    response.accept_ranges = "bytes"
    response.cache_control.private = True
    if content.max_age_s is None:
        response.cache_control.no_cache = True
    else:
        response.cache_control.max_age = content.max_age_s
    disposition = "attachment" if download else "inline"
    response.headers.set("Content-Disposition", disposition, filename=content.filename)
    if request.if_none_match.contains_weak(etag):
        response.status_code = 304
        return response
    start, length = 0, size
    if asked := _asked_range(content):
        start, length = _bounds(asked, size)
        if length <= 0:
            refusal = answer(416, f"The file has {size} bytes; the range is outside of it.")
            refusal.headers["Content-Range"] = f"bytes */{size}"
            return refusal
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    if request.method != "HEAD":
        # The content is opened, and its first bytes are read, before the answer begins, so that a
        # failure can still be answered; it is closed with the response.
        with ExitStack() as stack:
            blocks = stack.enter_context(content.opened(start, length))
            first = next(blocks, b"")
            response.response = chain([first], blocks)
            response.call_on_close(stack.pop_all().close)
    response.content_length = length
    return response


def _asked_range(content: Content) -> Range | None:
    """The one range of bytes asked for. Others (several, other units, stale) count as none."""
    asked = request.range if request.method == "GET" else None
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    return asked if _is_current(request.if_range, content) else None


def _is_current(known: IfRange, content: Content) -> bool:
    if known.etag is not None:
        return known.etag == content.etag
    if known.date is not None:
        return int(content.modified) == int(known.date.timestamp())
    return True


def _bounds(asked: Range, size: int) -> tuple[int, int]:
    """Where a range starts in a file of `size` bytes, and its length, 0 or less when outside."""
    start, end = asked.ranges[0]
    if start < 0:
        # The last bytes; all of them when there are fewer (RFC 9110 14.1.2).
        start = max(0, size + start)
    length = min(size, size if end is None else end) - start
    plays = request.headers.get("Sec-Fetch-Dest") in ("video", "audio")
    return start, min(length, PLAYER_BYTES) if plays else length
