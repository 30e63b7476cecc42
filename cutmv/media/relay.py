"""Serve one remote video to FFmpeg from this machine, so that FFmpeg opens no other address.

Names are looked up, certificates checked and broken downloads resumed here: a static FFmpeg
crashes when it looks a name up (its C library loads the system's, of another version), none
checks certificates unless told to, and a signed URL on a command line is there for all to read.
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
from types import TracebackType
from typing import Any, Self

import httpx

from cutmv.media.errors import MediaUnavailable

#: Seconds in which the storage must take a connection, and send the next bytes of an answer.
CONNECT_S, READ_S = 10.0, 30.0
#: Attempts at one range, and seconds before the second: doubled for each one after, jittered.
TRIES, BACKOFF_S = 5, 0.3
#: Seconds between looks at whether the relay is to end.
POLL_S = 0.05
#: What an answer says about its bytes.
PASSED_HEADERS = ("Content-Length", "Content-Range", "Content-Type")
#: Answers that another attempt may improve.
PASSING = (408, 429, 500, 502, 503, 504)

_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")

log = logging.getLogger(__name__)


class Relay:
    """A server on 127.0.0.1 that answers GET for `url`, whose bytes are those of `remote`.

    >>> with Relay("https://files.example/video.mp4?signature=…") as relay:
    ...     subprocess.run(["ffprobe", relay.url])
    """

    def __init__(self, remote: str) -> None:
        try:
            self._remote = httpx.URL(remote)
        except httpx.InvalidURL as error:
            raise MediaUnavailable("The video's address is no valid URL.") from error
        #: One line about bytes that were not given after all attempts, or None: FFmpeg may have
        #: taken an end that came too early for the video's own.
        self.lost: str | None = None
        #: One line about what fails just now, or None.
        self.trouble: str | None = None
        self._client = httpx.Client(
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            headers={"Accept-Encoding": "identity"},
        )
        self._ending = threading.Event()
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.relay = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="media-relay", daemon=True
        )

    @property
    def url(self) -> str:
        """The address for FFmpeg; it can't be guessed."""
        return f"http://127.0.0.1:{self._server.server_port}{self._path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def serve(self, handler: "_Handler") -> None:
        """Answer one request of FFmpeg's with what the storage answers."""
        asked = _RANGE.match(handler.headers.get("Range", "bytes=0-"))
        if handler.path != self._path or asked is None:
            handler.send_error(HTTPStatus.NOT_FOUND)
            return
        first, last = int(asked[1]), asked[2]
        begun, tries = False, 0
        while tries < TRIES:
            if self._ending.wait(_backoff_s(tries)):
                return  # nobody reads any more
            tries += 1
            try:
                with self._ask(first, last, resumed=begun) as answer:
                    if not begun:
                        handler.begin(answer)
                        begun = True
                    # As they come: a wanted size would lose what is gathered when it breaks off.
                    for chunk in answer.iter_raw():
                        first += len(chunk)
                        tries, self.trouble = 0, None  # what moves is not broken
                        handler.wfile.write(chunk)
                return
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    handler.send_error(status)
                    return
                self.trouble = f"The storage answered {status} when asked for the video."
                if status not in PASSING:
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
    # One that waits for the storage would hold up the end of a cancelled cut.
    block_on_close = False
    relay: Relay

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """FFmpeg closes a connection when it wants another part: that is no error."""
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
        """Say nothing: FFmpeg's requests interest nobody."""


def _backoff_s(tries: int) -> float:
    return BACKOFF_S * 2 ** (tries - 1) * random.uniform(0.5, 1.0) if tries else 0.0
