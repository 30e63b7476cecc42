"""What WebSockets have in common: how one is owned, and how it ends."""

import contextlib
import socket
import struct
from collections.abc import Callable

from flask import request
from simple_websocket import ConnectionClosed, Server

from cutmv.jobs import UnknownJob
from cutmv.transports.cloudflare import note_trouble
from cutmv.web.state import web

#: Seconds for which a client may leave its buffer full before it is given up.
SEND_TIMEOUT_S = 10
#: Close codes (RFC 6455 7.4 and its registry): the job ended; the server stops, failed, is full.
CLOSE_NORMAL, CLOSE_GOING_AWAY = 1000, 1001
CLOSE_INTERNAL_ERROR, CLOSE_TRY_AGAIN_LATER = 1011, 1013
#: Close codes of our own: the job was deleted while it was watched; the session has ended.
CLOSE_JOB_DELETED, CLOSE_SIGNED_OUT = 4404, 4401
#: Seconds to wait for the client's close frame, and for the end of the reader thread.
CLOSE_TIMEOUT_S = 2.0


def own_the_socket() -> None:
    """Give the WebSocket a socket object of its own, before it opens."""
    # flask-sock closes the connection and so does gunicorn, which then counts one close too many:
    # each gets a socket object of its own. (A TLS socket can't be duplicated; gunicorn has none
    # here.)
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(None)
        timeout = struct.pack("ll", SEND_TIMEOUT_S, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        request.environ["gunicorn.socket"] = connection.dup()


def serve(send: Callable[[], None], still_in: Callable[[], bool]) -> int:
    """Send what there is until it ends; returns the code to close with."""
    try:
        send()
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
    return CLOSE_GOING_AWAY if web().stopping.is_set() else CLOSE_NORMAL


def end(client: Server, code: int) -> None:
    """Close the WebSocket and end its reader thread."""
    with contextlib.suppress(ConnectionClosed, OSError):
        client.close(code)
    client.thread.join(CLOSE_TIMEOUT_S)
    with contextlib.suppress(OSError):
        client.sock.shutdown(socket.SHUT_RDWR)
    client.thread.join(CLOSE_TIMEOUT_S)
