"""Answer with a stored file, whole or one range of it.

The application sends the bytes itself and never redirects to a presigned URL: a player asks for
ranges for as long as the page is open, so the URL would expire while it plays; whoever gets the URL
can read the file; and the policy of the page allows media of its own host alone.
"""

from contextlib import ExitStack
from datetime import UTC, datetime

from flask import Response, request
from werkzeug.datastructures import IfRange, Range

from cutmv.storage import ObjectStat
from cutmv.web.api.problems import answer
from cutmv.web.state import web

#: Bytes of a file that a player gets for one request. A paused player leaves its connection open
#: and full, which would hold a thread; so it gets a part at a time, and asks again (RFC 9110 15.3.7
#: allows a part of what was asked). Programs that download get all of it.
PLAYER_BYTES = 8 * 1024 * 1024
#: Seconds for which a browser keeps what it got: a file never changes under its key.
MAX_AGE_S = 3600


def send_object(key: str, filename: str, content_type: str, *, download: bool) -> Response:
    """Answer with the object at `key`, or with the range of it that is asked for.

    200, 206, 304 or 416, by RFC 9110 13 to 15. Raises ObjectNotFound and StorageError.
    """
    storage = web().services.storage
    stat = storage.stat(key)
    etag = stat.etag.strip('"')
    response = Response(content_type=content_type)
    response.set_etag(etag)
    response.last_modified = datetime.fromtimestamp(stat.modified, UTC)
    response.accept_ranges = "bytes"
    response.cache_control.private = True
    response.cache_control.max_age = MAX_AGE_S
    disposition = "attachment" if download else "inline"
    response.headers.set("Content-Disposition", disposition, filename=filename)
    if request.if_none_match.contains_weak(etag):
        response.status_code = 304
        return response
    start, length = 0, stat.size
    if asked := _asked_range(etag, stat):
        start, length = _bounds(asked, stat.size)
        if length <= 0:
            refusal = answer(416, f"The file has {stat.size} bytes; the range is outside of it.")
            refusal.headers["Content-Range"] = f"bytes */{stat.size}"
            return refusal
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stat.size}"
    if request.method != "HEAD":
        # The object is opened before the answer begins, so that a failure can still be answered;
        # it is closed with the response.
        stack = ExitStack()
        response.response = stack.enter_context(storage.open_range(key, start, length))
        response.call_on_close(stack.close)
    response.content_length = length
    return response


def _asked_range(etag: str, stat: ObjectStat) -> Range | None:
    """The one range of bytes asked for. Others (several, other units, stale) count as none."""
    asked = request.range if request.method == "GET" else None
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    return asked if _is_current(request.if_range, etag, stat) else None


def _is_current(known: IfRange, etag: str, stat: ObjectStat) -> bool:
    if known.etag is not None:
        return known.etag == etag
    if known.date is not None:
        return int(stat.modified) == int(known.date.timestamp())
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
