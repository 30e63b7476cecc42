"""Gives one remote video to the engine, by a socket that it inherits.

The engine reads hostile files, so it has no network: no name to look up, no certificate to check,
and no URL that is signed. What it has is one end of a pair of sockets, through which it sends an
end of another pair for each connection that it wants; over that it speaks HTTP.
"""

import logging
import re
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cutmv.media.engine.source.reader import RELAY
from cutmv.media.remote.blocks import Blocks
from cutmv.media.remote.cache import Cache
from cutmv.media.remote.object import NotGiven, RemoteObject
from cutmv.media.remote.runs import Runs

#: Seconds between checks whether the relay is to end.
STOP_CHECK_S = 0.05
#: Connections at once: the engine has one for the picture, and one for each track of sound.
MOST_CONNECTIONS = 128
#: Bytes of one answer at most.
ANSWER_BYTES = 4 * 1_048_576

_RANGE = re.compile(r"^bytes=(\d+)-(\d+)$")

log = logging.getLogger(__name__)


class Relay:
    """Gives parts of the video at a URL to who inherits its socket, and keeps them in a cache.

    GET takes a closed range, and the header `Least`: so many bytes of it are given at least; the
    rest as far as it is in the cache. What a connection reads on and on is fetched ahead, to before
    the byte that the header `Until` names.

    >>> with Relay("https://files.example/video.mp4?signature=…", Cache(folder)) as relay:
    ...     make(relay.name)
    """

    def __init__(self, url: str, cache: Cache) -> None:
        self._ending = threading.Event()
        #: What the storage gave, and how it failed.
        self.remote = RemoteObject(url, self._ending)
        self._blocks = Blocks(self.remote, cache, self._ending)
        # Each message is one connection.
        self._asking, asked = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._server = _Server(asked, self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_CHECK_S,), name="media-relay", daemon=True
        )

    @property
    def name(self) -> str:
        """The name for the engine, with the descriptor that it inherits."""
        return f"{RELAY}{self._asking.fileno()}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._asking.close()
        self.remote.close()
        self._blocks.close()

    def serve(self, handler: "_Handler") -> None:
        """Answer one request of the engine."""
        asked = _RANGE.match(handler.headers.get("Range", ""))
        least, until = (handler.headers.get(name, "") for name in ("Least", "Until"))
        if asked is None:
            handler.send_error(HTTPStatus.NOT_FOUND)
            return
        first, past = int(asked[1]), int(asked[2]) + 1
        try:
            size = self._blocks.size
            if first >= size or past <= first:
                handler.refuse(size)
                return
            past = min(past, first + ANSWER_BYTES)
            run = handler.runs.before(first)
            data = self._blocks.read(
                *(first, past),
                least=int(least) if least.isdecimal() else 1,
                run=run,
                until=int(until) if until.isdecimal() else None,
            )
        except NotGiven:
            handler.send_error(HTTPStatus.BAD_GATEWAY)
            return
        handler.give(data, first, size)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A request that waits for the storage must not delay the end of a cancelled cut.
    block_on_close = False

    def __init__(self, asked: socket.socket, relay: Relay) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.relay = asked, relay
        asked.setblocking(False)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take the connection that a message brings. Raises OSError where it brings none."""
        _, [*ends], _, _ = socket.recv_fds(self.socket, 1, 1)
        if not ends:
            raise OSError("a message without a connection")
        return socket.socket(fileno=ends[0]), None

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Refuse what are more connections than an engine has."""
        return self._free.acquire(blocking=False)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().finish_request(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log an error, unless the engine closed the connection, as it does at its end."""
        if not isinstance(sys.exception(), ConnectionError):
            log.exception("a request of the engine's failed")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Begin a connection."""
        super().setup()
        self.runs = Runs()

    def do_GET(self) -> None:
        """See Relay."""
        self.server.relay.serve(self)

    def give(self, data: bytes, first: int, size: int) -> None:
        """Answer with bytes of the video."""
        past = first + len(data)
        self.runs.read(first, past)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Range", f"bytes {first}-{past - 1}/{size}")
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, size: int) -> None:
        """Say that the video has no such bytes."""
        self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        self.send_header("Content-Length", "0")
        self.send_header("Content-Range", f"bytes */{size}")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log no request."""
