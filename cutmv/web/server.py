"""gunicorn as this application needs it: its settings and hooks, by gunicorn's names.

``gunicorn -c python:cutmv.web.server -b 127.0.0.1:8000 cutmv.web.wsgi:app``

One process, since a job's watchers and the dispatcher's threads live together in it, and many
threads, since a WebSocket or a slow download holds one. The work itself is done elsewhere: by
FFmpeg's processes, or by workers on other machines.
"""

import signal
import socket
import struct
from types import FrameType
from typing import Any

from flask import Flask

from cutmv.logs import set_up_logging
from cutmv.web.state import web_of

worker_class = "gthread"
workers = 1
#: Each WebSocket and each transfer holds one; a third is left when all the sockets are taken.
threads = 144
#: Seconds that a connection is kept for its client's next request.
keepalive = 15
#: Seconds that requests in flight have at a stop.
graceful_timeout = 15
#: Seconds without a sign of life after which a stuck worker process is replaced.
timeout = 60
#: Seconds that a client may be silent within the head of a request: it holds a thread.
HEAD_TIMEOUT_S = 15
#: A command socket in the home directory that nothing here uses.
control_socket_disable = True


def post_fork(_server: Any, _worker: Any) -> None:
    """Log what the application does to standard error, one line an event."""
    set_up_logging()


def post_worker_init(worker: Any) -> None:
    """Bound the wait for a request's head; let followers end as soon as the server is to stop."""
    for listener in worker.sockets:
        # Connections inherit it (socket(7)). What follows the head has a bound of its own.
        listener.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", HEAD_TIMEOUT_S, 0)
        )
    stopping = web_of(worker.wsgi).stopping
    stop = signal.getsignal(signal.SIGTERM)

    def told_to_stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, told_to_stop)


def worker_int(worker: Any) -> None:
    """Stop at once: the terminal and the parent both say so, and the second must not cut in."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        # A function, since Python complains of a signal under way that becomes ignored.
        signal.signal(number, lambda _number, _frame: None)
    if isinstance(worker.wsgi, Flask):
        web_of(worker.wsgi).stopping.set()


def worker_exit(_server: Any, worker: Any) -> None:
    """End the background threads with the process that has them."""
    if isinstance(worker.wsgi, Flask):
        web_of(worker.wsgi).close()
