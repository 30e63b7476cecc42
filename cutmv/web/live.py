"""The WebSocket that tells a job's progress: a snapshot first, then each change, to its end."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from flask import Blueprint, Flask, g, json, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server

from cutmv.database import DATABASE_AWAY, passes
from cutmv.jobs import Job, JobStore, UnknownJob
from cutmv.progress import follow
from cutmv.transports.cloudflare import note_trouble
from cutmv.web.access import mine
from cutmv.web.state import web, web_of

#: Seconds between pings. A client that has not answered one by the next has gone.
PING_S = 20
#: Seconds for which a client may leave its buffer full before it is given up.
SEND_TIMEOUT_S = 10
#: Bytes of the largest message from a client, which needs to send none.
MAX_MESSAGE_BYTES = 64
#: Close codes (RFC 6455 7.4 and its registry): the job ended; the server stops, failed, is full.
CLOSE_NORMAL, CLOSE_GOING_AWAY = 1000, 1001
CLOSE_INTERNAL_ERROR, CLOSE_TRY_AGAIN_LATER = 1011, 1013
#: Close codes of our own: the job was deleted while it was watched; the session has ended.
CLOSE_JOB_DELETED, CLOSE_SIGNED_OUT = 4404, 4401
#: Seconds to wait for the client's close frame, and for the end of the reader thread.
CLOSE_TIMEOUT_S = 2.0


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
    free = threading.BoundedSemaphore(web_of(app).services.settings.limits.all_sockets)

    @sock.route("/ws/jobs/<job_id>", bp=blueprint)  # type: ignore[untyped-decorator]
    def watch(client: Server, job_id: str) -> None:
        """Follow a job."""
        if not free.acquire(blocking=False):
            _end(client, CLOSE_TRY_AGAIN_LATER)
            return
        try:
            with web().metrics.websockets.track_inprogress():
                _end(client, _follow(client, job_id, g.still_in))
        finally:
            free.release()

    app.register_blueprint(blueprint)


def _check_before_upgrade() -> None:
    """Answer 404 for an unknown job, or another person's, before a WebSocket opens."""
    mine().job((request.view_args or {})["job_id"])


def _own_the_socket() -> None:
    # flask-sock closes the connection and so does gunicorn, which then counts one close too many:
    # each gets a socket object of its own. (A TLS socket can't be duplicated; gunicorn has none
    # here.)
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(None)
        timeout = struct.pack("ll", SEND_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        request.environ["gunicorn.socket"] = connection.dup()


def _follow(client: Server, job_id: str, still_in: Callable[[], bool]) -> int:
    """Send the messages of a job until it or the client ends; returns the code to close with."""
    here = web()

    def stopped() -> bool:
        client.input_buffer.clear()
        return not (client.connected and still_in()) or here.stopping.is_set()

    messages = follow(_loader(here.services.store, job_id), here.feed, stopped=stopped)
    try:
        for message in messages:
            client.send(json.dumps(message or {"type": "ping"}))
    except UnknownJob:
        return CLOSE_JOB_DELETED
    except (ConnectionClosed, OSError):
        return CLOSE_NORMAL
    except Exception as error:
        # An error page would garble the connection, which speaks WebSocket now.
        note_trouble("websocket", error, "it is closed")
        return CLOSE_INTERNAL_ERROR
    if not still_in():
        return CLOSE_SIGNED_OUT
    return CLOSE_GOING_AWAY if here.stopping.is_set() else CLOSE_NORMAL


def _loader(store: JobStore, job_id: str) -> Callable[[], Job]:
    """What loads a job; while the database is away, as it was before."""
    latest: list[Job] = []

    def load() -> Job:
        try:
            latest[:] = [store.job(job_id)]
        except DATABASE_AWAY as error:
            if not latest or not passes(error):
                raise
        return latest[0]

    return load


def _end(client: Server, code: int) -> None:
    """Close the WebSocket and end its reader thread."""
    with contextlib.suppress(ConnectionClosed, OSError):
        client.close(code)
    client.thread.join(CLOSE_TIMEOUT_S)
    with contextlib.suppress(OSError):
        client.sock.shutdown(socket.SHUT_RDWR)
    client.thread.join(CLOSE_TIMEOUT_S)
