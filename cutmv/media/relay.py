"""Serve one remote video to FFmpeg from this machine, so that FFmpeg opens no other address.

The relay looks up names, checks certificates and resumes broken downloads. A static FFmpeg crashes
when it looks up a name (its C library loads the system's, of another version), FFmpeg checks
certificates only when told to, and everybody on the machine can read a URL on a command line.
"""

import logging
import random
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

from cutmv.media.errors import MediaUnavailable

#: Seconds in which the storage must take a connection, and send the next bytes of an answer.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0
#: Attempts at one range, and seconds before the second; they double for each later one, jittered.
MAX_TRIES, BACKOFF_S = 5, 0.3
#: Seconds between checks whether the relay is to end.
STOP_CHECK_S = 0.05
#: The headers of the storage's answer that FFmpeg gets.
PASSED_HEADERS = ("Content-Length", "Content-Range", "Content-Type")
#: Statuses of failures that may pass, so that another attempt is made.
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)

_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")

log = logging.getLogger(__name__)


class Relay:
    """A server on 127.0.0.1 that answers GET for `url`, whose bytes are those of `remote`.

    >>> with Relay("https://files.example/video.mp4?signature=…") as relay:
    ...     subprocess.run(["ffmpeg", "-i", relay.url, "out.mp4"])
    """

    def __init__(self, remote: str) -> None:
        try:
            self._remote = httpx.URL(remote)
        except httpx.InvalidURL as error:
            raise MediaUnavailable("The video's address is no valid URL.") from error
        #: One line about bytes that no attempt could get, or None. FFmpeg may have taken the early
        #: end of an answer for the end of the video.
        self.lost: str | None = None
        #: Whether the storage answered, and refused: asking once more will not change that.
        self.refused = False
        #: One line about the latest failure, or None when bytes came since.
        self.trouble: str | None = None
        self._client = httpx.Client(
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={"Accept-Encoding": "identity"},
        )
        self._ending = threading.Event()
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.relay = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_CHECK_S,), name="media-relay", daemon=True
        )

    @property
    def url(self) -> str:
        """The address for FFmpeg; it can't be guessed."""
        return f"http://127.0.0.1:{self._server.server_port}{self._path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def serve(self, handler: "_Handler") -> None:
        """Answer one request of FFmpeg with the storage's answer; resume it when it breaks off."""
        asked = _RANGE.match(handler.headers.get("Range", "bytes=0-"))
        if handler.path != self._path or asked is None:
            handler.send_error(HTTPStatus.NOT_FOUND)
            return
        first, last = int(asked[1]), asked[2]
        begun, tries = False, 0
        while tries < MAX_TRIES:
            if self._ending.wait(_backoff_s(tries)):
                return  # FFmpeg has ended
            tries += 1
            try:
                with self._ask(first, last, resumed=begun) as answer:
                    if not begun:
                        handler.begin(answer)
                        begun = True
                    # Chunks as they come: with a fixed size httpx would drop a part on a failure.
                    for chunk in answer.iter_raw():
                        first += len(chunk)
                        tries, self.trouble = 0, None  # bytes came: the next failure is a first one
                        handler.wfile.write(chunk)
                return
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    handler.send_error(status)
                    return
                self.trouble = f"The storage answered {status} when asked for the video."
                self.refused = status not in RETRIED_STATUSES
                if self.refused:
                    break
            except httpx.HTTPError as error:
                reason = type(error).__name__
                self.trouble = f"The video can't be read from {self._remote.host}: {reason}."
        self.lost = self.trouble
        if not begun:
            handler.send_error(HTTPStatus.BAD_GATEWAY)

    @contextmanager
    def _ask(self, first: int, last: str, *, resumed: bool) -> Iterator[httpx.Response]:
        ranged = {"Range": f"bytes={first}-{last}"}
        with self._client.stream("GET", self._remote, headers=ranged) as answer:
            answer.raise_for_status()
            if resumed and not answer.headers.get("Content-Range", "").startswith(
                f"bytes {first}-"
            ):
                raise httpx.RemoteProtocolError("The rest of a broken download was not given.")
            yield answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A request that waits for the storage must not delay the end of a cancelled cut.
    block_on_close = False
    relay: Relay

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log an error, unless FFmpeg closed the connection, as it does to read another range."""
        if not isinstance(sys.exception(), ConnectionError):
            log.exception("a request of FFmpeg's failed")


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """See Relay.serve."""
        self.server.relay.serve(self)

    def begin(self, answer: httpx.Response) -> None:
        """Pass on what the storage says about the bytes that follow."""
        self.send_response(answer.status_code)
        self.send_header("Accept-Ranges", "bytes")
        for name in PASSED_HEADERS:
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log no request."""


def _backoff_s(tries: int) -> float:
    return BACKOFF_S * 2 ** (tries - 1) * random.uniform(0.5, 1.0) if tries else 0.0
