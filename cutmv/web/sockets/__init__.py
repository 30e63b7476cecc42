"""WebSockets once they are open: one thread owns them all, and no other waits for a client.

A request's thread does the handshake, and hands the connection over to `thread`, whose event loop
reads, writes, pings and ends it. `web_socket` is one of them. The package knows neither requests
nor jobs nor people.
"""

from cutmv.web.sockets.thread import SocketThread
from cutmv.web.sockets.web_socket import (
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_SIGNED_OUT,
    CLOSE_TRY_AGAIN_LATER,
    Act,
    WebSocket,
)

__all__ = [
    "CLOSE_INTERNAL_ERROR",
    "CLOSE_NORMAL",
    "CLOSE_SIGNED_OUT",
    "CLOSE_TRY_AGAIN_LATER",
    "Act",
    "SocketThread",
    "WebSocket",
]
