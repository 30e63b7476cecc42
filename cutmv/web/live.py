"""A job's progress over a WebSocket: a snapshot first, then each change, to its end."""

import contextlib
import logging
import socket
import struct
import threading

from flask import Blueprint, Flask, json, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server

from cutmv.jobs import UnknownJob
from cutmv.progress import follow
from cutmv.web.state import web

#: Sockets open at once: each holds a thread of the server, and requests must keep some.
MAX_SOCKETS = 96
#: Seconds between pings. A client that answered none by the next one is gone.
PING_S = 20
#: Seconds for which a client may leave its buffer full before it is given up.
SEND_TIMEOUT_S = 10
#: Bytes of a message from a client: it has nothing to say.
MAX_MESSAGE_BYTES = 64
#: Close codes (RFC 6455 7.4 and its registry): the job ended; the server stops, failed, is full.
NORMAL, GOING_AWAY, INTERNAL_ERROR, TRY_AGAIN_LATER = 1000, 1001, 1011, 1013
#: Close code of our own: the job went away while it was watched.
GONE = 4404
#: Seconds that the end of a socket waits for the client's goodbye, and for its reader thread.
CLOSE_S = 2.0

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Add the route to `app`."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "ping_interval": PING_S,
        "max_message_size": MAX_MESSAGE_BYTES,
    }
    blueprint = Blueprint("live", __name__)
    blueprint.before_request(_check_before_upgrade)
    blueprint.before_request(_own_the_socket)
    sock = Sock()
    free = threading.BoundedSemaphore(MAX_SOCKETS)

    @sock.route("/ws/jobs/<job_id>", bp=blueprint)  # type: ignore[untyped-decorator]
    def watch(client: Server, job_id: str) -> None:
        """Follow a job."""
        if not free.acquire(blocking=False):
            _end(client, TRY_AGAIN_LATER)
            return
        try:
            with web().metrics.websockets.track_inprogress():
                _end(client, _follow(client, job_id))
        finally:
            free.release()

    app.register_blueprint(blueprint)


def _check_before_upgrade() -> None:
    """An unknown job is an HTTP 404; no socket opens for it."""
    web().services.store.job((request.view_args or {})["job_id"])


def _own_the_socket() -> None:
    # flask-sock closes the connection and so does gunicorn, which then counts one close too many:
    # each gets a socket object of its own. (TLS sockets can't be doubled; gunicorn has none here.)
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(None)
        timeout = struct.pack("ll", SEND_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        request.environ["gunicorn.socket"] = connection.dup()


def _follow(client: Server, job_id: str) -> int:
    """Send the messages of a job until it or the client ends; returns the code to close with."""
    here = web()

    def stopped() -> bool:
        client.input_buffer.clear()
        return not client.connected or here.stopping.is_set()

    messages = follow(lambda: here.services.store.job(job_id), here.hub, stopped=stopped)
    try:
        for message in messages:
            client.send(json.dumps(message or {"type": "ping"}))
    except UnknownJob:
        return GONE
    except (ConnectionClosed, OSError):
        return NORMAL
    except Exception:
        # The connection speaks WebSocket now: an error page would only garble it.
        log.exception("the WebSocket of job %s failed", job_id)
        return INTERNAL_ERROR
    return GOING_AWAY if here.stopping.is_set() else NORMAL


def _end(client: Server, code: int) -> None:
    """Say goodbye and end the socket's reader thread."""
    with contextlib.suppress(ConnectionClosed, OSError):
        client.close(code)
    client.thread.join(CLOSE_S)
    with contextlib.suppress(OSError):
        client.sock.shutdown(socket.SHUT_RDWR)
    client.thread.join(CLOSE_S)
