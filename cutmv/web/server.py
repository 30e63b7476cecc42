"""gunicorn's configuration: its settings and hooks, by gunicorn's names.

``gunicorn -c python:cutmv.web.server -b 127.0.0.1:8000 cutmv.web.wsgi:app``

There is one process, since the progress feed and the dispatcher's threads live in it, and many
threads, since an upload or a slow download holds one. One thread has all WebSockets. FFmpeg's
processes, or workers on other machines, do the work.
"""

import ctypes
import gc
import logging
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

from flask import Flask

from cutmv.config import Limits
from cutmv.logs import set_up_logging, writes_json
from cutmv.media import sandbox_told
from cutmv.secrecy import hide_memory
from cutmv.web.admission import threads_for
from cutmv.web.auth import prepare_administrator
from cutmv.web.connections import KEPT_CONNECTIONS
from cutmv.web.files import allow_files, most_connections
from cutmv.web.state import listen, web_of

log = logging.getLogger(__name__)

worker_class = "cutmv.web.connections.BoundedWorker"
workers = 1
#: Each transfer holds one; some are left when all of these are taken. The worker has as many as its
#: settings ask for.
threads = threads_for(Limits())
allow_files()
#: Connections open at once, beside WebSockets; of more, those are ended that were idle longest.
worker_connections = max(threads + KEPT_CONNECTIONS, most_connections(Limits().connections))
#: Seconds that a connection is kept for its client's next request.
keepalive = 15
#: Seconds that requests in flight have to end when the server stops.
graceful_timeout = 15
#: Seconds without a sign of life after which a stuck worker process is replaced.
timeout = 60
#: gunicorn would make a command socket in the home directory, which nothing here uses.
control_socket_disable = True

if writes_json():  # the server's own lines, too
    logconfig_dict = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"generic": {"()": "cutmv.logs.JsonLines"}},
        "root": {"level": "INFO", "handlers": ["error_console"]},
        "loggers": {
            name: {"level": "INFO", "handlers": ["error_console"], "propagate": False}
            for name in ("gunicorn.error", "gunicorn.access")
        },
    }

#: Seconds for which a thread computes before another may: with many at work, a short request waits
#: for one such time of each, again and again. Python's own is 5 ms.
SWITCH_S = 0.0005
#: Arenas from which the C library gives memory (mallopt(3)), and the option's number. Threads take
#: turns anyway, and each of the usual eight a processor keeps what it once had.
ARENAS, M_ARENA_MAX = 2, -8

# The environment of the process that starts the others has the secrets, too.
hide_memory()


def pre_fork(_server: Any, _worker: Any) -> None:
    """Leave what is imported to both processes: to collect garbage would write to all of it."""
    gc.collect()
    gc.freeze()


def post_fork(_server: Any, _worker: Any) -> None:
    """Log to standard error, one line an event."""
    set_up_logging()
    sys.setswitchinterval(SWITCH_S)
    with suppress(AttributeError, OSError):  # another C library than GNU's
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
    log.info("files are read in a sandbox: %s", sandbox_told())


def post_worker_init(worker: Any) -> None:
    """Tell the application where it listens, and to stop."""
    bound = [listener.sock.getsockname() for listener in worker.sockets]
    asked = [each[0] for each in worker.cfg.address if isinstance(each, tuple)]
    listen(worker.wsgi, [each[0] if isinstance(each, tuple) else "" for each in bound], asked)
    here = web_of(worker.wsgi)
    if (names := here.services.settings.access.hosts) and not here.door.sign_in:
        log.warning(
            "whoever reaches the server by a name of CUTMV_HOSTS (%s) may use all of it: set"
            " CUTMV_SIGN_IN=always where others can",
            ", ".join(names),
        )
    prepare_administrator(worker.wsgi, _address(bound[0]))
    sockets = web_of(worker.wsgi).sockets
    stop = signal.getsignal(signal.SIGTERM)

    def told_to_stop(number: int, frame: FrameType | None) -> None:
        sockets.stop()
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, told_to_stop)


def worker_int(worker: Any) -> None:
    """Stop at once, and ignore further signals: the terminal and the parent send one each."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        # Not SIG_IGN: Python complains when a signal that is under way becomes ignored.
        signal.signal(number, lambda _number, _frame: None)
    if (app := _app(worker)) is not None:
        web_of(app).sockets.stop()


def worker_exit(_server: Any, worker: Any) -> None:
    """End the background threads with the process that has them."""
    if (app := _app(worker)) is not None:
        web_of(app).close()


def _app(worker: Any) -> Flask | None:
    """The application of a worker, which has none before it has started."""
    app = getattr(worker, "wsgi", None)
    return app if isinstance(app, Flask) else None


def _address(bound: Any) -> str:
    """The address of a socket for people on this machine; of a Unix socket, words."""
    if not isinstance(bound, tuple):
        return "(the server's address)"
    host = str(bound[0]).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    host = "::1" if host == "::" else host
    return f"http://[{host}]:{bound[1]}" if ":" in host else f"http://{host}:{bound[1]}"
