"""gunicorn's configuration: its settings and hooks, by gunicorn's names.

``gunicorn -c python:cutmv.web.server -b 127.0.0.1:8000 cutmv.web.wsgi:app``

There is one process, since the progress feed and the dispatcher's threads live in it, and many
threads, since a WebSocket or a slow download holds one. FFmpeg's processes, or workers on other
machines, do the work.
"""

import signal
import socket
import struct
from types import FrameType
from typing import Any

from flask import Flask

from cutmv.logs import set_up_logging
from cutmv.web.state import listen, web_of

worker_class = "gthread"
workers = 1
#: Each WebSocket and each transfer holds one; a third is left when all WebSockets are taken.
threads = 144
#: Seconds that a connection is kept for its client's next request.
keepalive = 15
#: Seconds that requests in flight have to end when the server stops.
graceful_timeout = 15
#: Seconds without a sign of life after which a stuck worker process is replaced.
timeout = 60
#: Seconds that a client may be silent within the head of a request: it holds a thread.
HEAD_TIMEOUT_S = 15
#: gunicorn would make a command socket in the home directory, which nothing here uses.
control_socket_disable = True


def post_fork(_server: Any, _worker: Any) -> None:
    """Log to standard error, one line an event."""
    set_up_logging()


def post_worker_init(worker: Any) -> None:
    """Bound the wait for a request's head; tell the application where it listens, and to stop."""
    for listener in worker.sockets:
        # Connections inherit it (socket(7)). What follows the head has a bound of its own.
        listener.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", HEAD_TIMEOUT_S, 0)
        )
    bound = [listener.sock.getsockname() for listener in worker.sockets]
    asked = [each[0] for each in worker.cfg.address if isinstance(each, tuple)]
    listen(worker.wsgi, [each[0] if isinstance(each, tuple) else "" for each in bound], asked)
    stopping = web_of(worker.wsgi).stopping
    stop = signal.getsignal(signal.SIGTERM)

    def told_to_stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, told_to_stop)


def worker_int(worker: Any) -> None:
    """Stop at once, and ignore further signals: the terminal and the parent send one each."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        # Not SIG_IGN: Python complains when a signal that is under way becomes ignored.
        signal.signal(number, lambda _number, _frame: None)
    if isinstance(worker.wsgi, Flask):
        web_of(worker.wsgi).stopping.set()


def worker_exit(_server: Any, worker: Any) -> None:
    """End the background threads with the process that has them."""
    if isinstance(worker.wsgi, Flask):
        web_of(worker.wsgi).close()
