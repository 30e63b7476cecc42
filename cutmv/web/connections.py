"""gunicorn's worker, with bounds on what a slow client holds: no thread for a head, and a pace.

gunicorn gives a connection a thread as soon as it is open. Here a connection gets one when the head
of its request is whole; until then the main loop reads it, for `HEAD_TIMEOUT_S` at most. What
follows, either way, has to keep a pace: a client that is slower than `CUTMV_MIN_RATE` is ended.
When the answer is sent the thread is free: the main loop waits for a client to close its
connection. Who asks whether the server is well gets a thread that nobody else can take.
"""

import errno
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any, TypeVar

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

from cutmv.config import MIN_RATE
from cutmv.web.admission import EXTENSION, RETRY_AFTER_S, Kind, threads_for
from cutmv.web.api.problems import bytes_of_problem
from cutmv.web.files import most_connections
from cutmv.web.state import web_of

#: Seconds in which the head of a request has to come.
HEAD_TIMEOUT_S = 15.0
#: Bytes of a head at most: gunicorn's own limits are below it.
MAX_HEAD_BYTES = 256 * 1024
#: Connections beside those that have a thread, at least.
KEPT_CONNECTIONS = 64
#: Seconds that a client may be slower than it has to be, all in all.
GRACE_S = 20.0
#: Seconds that a client whose connection ends has to read the last of its answer, and bytes that
#: are read of it meanwhile. With some unread, the kernel would take the answer back.
LINGER_S, LINGER_BYTES = 1.0, 1_000_000
#: Seconds after which an upload is told that all have enough: a client that asks again as soon as
#: it is told takes less of the server.
HELD_S = 3.0
#: What it is told then.
REFUSAL = bytes_of_problem(HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER_S)
#: How the head of an upload begins.
UPLOADS = (b"POST /api/uploads ", b"POST /api/uploads?")
#: How the head of a request begins that asks whether the server is well, and what no such head has.
PROBES, BODIES = (b"GET /healthz ", b"HEAD /healthz "), (b"content-length", b"transfer-encoding")
#: Seconds that a client's thread waits for the rest of a body that nobody wanted to read.
DROP_S = 0.1
#: Bytes that are sent in one piece, so that each shows the client's pace.
PIECE_BYTES = 64 * 1024

_T = TypeVar("_T")


class TooSlow(ConnectionResetError):
    """A client has not kept the pace. gunicorn ends its connection without a word in the log."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client is too slow")


class PacedSocket(socket.socket):
    """A client's socket, which counts the seconds that the client has kept a request waiting."""

    _paced = False
    _waited_s, _moved = 0.0, 0
    #: Whether the client was ended for its pace; and whether its request was refused, so that what
    #: may come of its body is not waited for.
    too_slow = refused = False
    #: Bytes a second that the client sends or takes at least.
    min_rate = MIN_RATE

    @classmethod
    def of(cls, sock: socket.socket) -> "PacedSocket":
        """Take a socket over."""
        return cls(fileno=sock.detach())

    def begin(self) -> None:
        """Count from here: a request begins."""
        self._paced, self._waited_s, self._moved = True, 0.0, 0

    def end(self) -> None:
        """Count no more: the request has ended."""
        self._paced = False

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """See socket.socket. Raises TooSlow."""
        if not self._paced:
            return super().recv(bufsize, flags)
        data = self._waiting(0, partial(super().recv, bufsize, flags))
        self._moved += len(data)
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """See socket.socket. Raises TooSlow."""
        if not self._paced:
            return super().sendall(data, flags)
        view = memoryview(data)
        for first in range(0, len(view), PIECE_BYTES):
            piece = view[first : first + PIECE_BYTES]
            self._waiting(len(piece), partial(super().sendall, piece, flags))
            self._moved += len(piece)
        return None

    def _waiting(self, expected: int, call: Callable[[], _T]) -> _T:
        """Make a call that may wait for the client to move `expected` bytes."""
        left_s = GRACE_S + (self._moved + expected) / self.min_rate - self._waited_s
        began = time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            self.settimeout(left_s)
            return call()
        except TimeoutError:
            self.too_slow = True
            raise TooSlow from None
        finally:
            self._waited_s += time.monotonic() - began


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, closed without a wait: gunicorn would have all others wait too."""

    head = b""
    #: Bytes that were read since its last answer.
    lingered = 0
    #: Has the main loop let the client read to the end.
    linger: Callable[["Connection"], None] = staticmethod(lambda _connection: None)

    def close(self, graceful: bool = False) -> None:
        """Close it; at the end of an answer, once the client has."""
        if graceful:
            self.linger(self)
        else:
            util.close(self.sock)


class _Sent:
    """Stands for a client's socket where gunicorn writes an answer of its own."""

    def __init__(self) -> None:
        self.status = 0

    def gettimeout(self) -> float:
        """See socket.socket."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Note the status of an answer."""
        self.status = int(data.split()[1])


class BoundedWorker(ThreadWorker):  # type: ignore[misc]
    """Hands a connection to a thread when a whole head is there; has a bounded number of them."""

    min_rate = MIN_RATE

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """The threads for requests, until the settings are read."""
        self._lingering: deque[Any] = deque()
        self._refused: deque[Any] = deque()
        pool: ThreadPoolExecutor = super().get_thread_pool()
        return pool

    def load_wsgi(self) -> None:
        """Load the application, and have as many threads as its settings ask for."""
        super().load_wsgi()
        settings = web_of(self.wsgi).services.settings
        self._admission = self.wsgi.extensions[EXTENSION]
        requests = web_of(self.wsgi).metrics.requests
        self._count_refused = requests.labels("/api/uploads", "POST", "503").inc
        self._uploads = Kind("uploads", settings.limits.all_uploads)
        self.min_rate, threads = settings.min_rate, threads_for(settings.limits)
        self._probes = ThreadPoolExecutor(settings.limits.health_checks, "probe")
        if threads != self.cfg.threads:
            self.tpool = ThreadPoolExecutor(threads)
        least = threads + KEPT_CONNECTIONS
        self.worker_connections = max(most_connections(settings.limits.connections), least)

    def enqueue_req(self, conn: Any) -> None:
        """Hand a request to a thread."""
        pool = self._probes if _is_probe(conn.head) else self.tpool
        done = pool.submit(self.handle, conn)
        done.add_done_callback(
            lambda future: self.method_queue.defer(self.finish_request, conn, future)
        )

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection; when there are too many, end the one that was idle longest."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._end_idlest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._end_idlest()
        sock = PacedSocket.of(accepted)
        sock.min_rate = self.min_rate
        conn = Connection(self.cfg, sock, address, listener.getsockname())
        conn.linger = self._linger
        self._await_head(conn)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Read the next request of a connection that was kept."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn)

    def handle(self, conn: Any) -> Any:
        """Serve a request whose head is here, in a thread."""
        conn.init()
        conn.parser.unreader.unread(conn.head)
        conn.head = b""
        conn.sock.begin()
        try:
            return super().handle(conn)
        finally:
            conn.sock.end()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no request with a problem, as the application does."""
        sent = _Sent()
        super().handle_error(req, sent, addr, exc)  # which knows the status, and logs it
        with suppress(OSError):
            client.settimeout(LINGER_S)
            client.sendall(bytes_of_problem(HTTPStatus(sent.status or 500)))

    def murder_pending(self) -> None:
        """End the connections whose time to send a head, or to read an answer, has passed."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout <= time.monotonic():
            self._end_lingering(self._lingering[0])
        while self._refused and self._refused[0].timeout <= time.monotonic():
            self._tell_refused(self._refused.popleft())

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        is_a_websocket = conn.sock.fileno() < 0  # and another thread's
        if not keepalive or conn.sock.refused or is_a_websocket:
            return False
        conn.sock.end()  # what is dropped of a body has a time of its own
        # Of what the application did not read, that is dropped which is here already.
        return bool(conn.parser.finish_body(deadline=time.monotonic() + DROP_S))

    def _linger(self, conn: Any) -> None:
        """Have a client read its answer to the end; then close the connection."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
        except OSError:
            util.close(conn.sock)
            return
        self.nr_conns += 1
        conn.timeout = time.monotonic() + LINGER_S
        self._lingering.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self._read_on, conn))

    def _read_on(self, conn: Any, _client: Any) -> None:
        """Drop what a client sends behind its request."""
        try:
            dropped = len(conn.sock.recv(PIECE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            dropped = 0
        conn.lingered += dropped
        if not dropped or conn.lingered > LINGER_BYTES:
            self._end_lingering(conn)

    def _end_lingering(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        self._lingering.remove(conn)
        self.nr_conns -= 1
        util.close(conn.sock)

    def is_parent_alive(self) -> bool:
        """Whether gunicorn's parent runs; if not, another server may have the address at once."""
        alive = bool(super().is_parent_alive())
        if not alive:
            self.set_accept_enabled(False)
            for listener in self.sockets:
                listener.close()
            web_of(self.wsgi).sockets.stop()
        return alive

    def _await_head(self, conn: Any) -> None:
        conn.head = b""
        conn.data_ready = True  # when it comes to a thread
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HEAD_TIMEOUT_S
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self._read_head, conn))

    def _read_head(self, conn: Any, _client: Any) -> None:
        try:
            data = conn.sock.recv(MAX_HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.head += data
        if data and b"\r\n\r\n" not in conn.head and len(conn.head) < MAX_HEAD_BYTES:
            return
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)
        if not data:
            self.nr_conns -= 1
            conn.close()
        elif conn.head.startswith(UPLOADS) and self._admission.is_full(self._uploads):
            conn.timeout = time.monotonic() + HELD_S
            self._refused.append(conn)
        else:
            self.enqueue_req(conn)

    def _tell_refused(self, conn: Any) -> None:
        """Refuse an upload where all clients together had enough, at the least cost."""
        with suppress(OSError):
            conn.sock.send(REFUSAL)
        self._count_refused()
        self.nr_conns -= 1
        self._linger(conn)

    def _end_idlest(self) -> None:
        """End the connection whose next head is awaited longest, or that was kept longest."""
        waiting = self._lingering or self._refused or self.pending_conns or self.keepalived_conns
        if waiting:
            waiting[0].timeout = 0.0
            self.murder_pending()
            self.murder_keepalived()

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)


def _is_probe(head: bytes) -> bool:
    """Whether it asks whether the server is well, and nothing else: a body would take a while."""
    return head.startswith(PROBES) and not any(name in head.lower() for name in BODIES)
