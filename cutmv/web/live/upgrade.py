"""The answer to a WebSocket's handshake, after which the connection is no request's any more."""

import socket
from collections.abc import Callable

from flask import Response, request
from wsproto.connection import ConnectionType
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError, generate_accept_token

from cutmv.transports.cloudflare import note_trouble
from cutmv.web.api.problems import Problem
from cutmv.web.sockets import Act

#: Gets the connection once the answer is sent, and what to call when that ends.
Opened = Callable[[socket.socket, Act], None]


class Upgrade(Response):
    """Switches this request's connection to WebSocket. Raises Problem 400, 426, 501."""

    def __init__(self, opened: Opened) -> None:
        accept = _accept_token()
        if (connection := request.environ.get("gunicorn.socket")) is None:
            raise Problem(501, "This WSGI server keeps its connections: start `cutmv web`.")
        super().__init__(status=101)
        del self.headers["Content-Type"]
        self.headers["Connection"], self.headers["Upgrade"] = "upgrade", "websocket"
        self.headers["Sec-WebSocket-Accept"] = accept
        self._connection: socket.socket = connection
        self._opened, self._at_end = opened, list[Act]()
        self.call_on_close(self._open)

    def at_end(self, act: Act) -> None:
        """Have something done when the WebSocket has ended, not when the answer is sent."""
        self._at_end.append(act)

    def _open(self) -> None:
        # gunicorn finds its own object closed, and leaves the connection alone.
        connection = socket.socket(fileno=self._connection.detach())
        try:
            self._opened(connection, self._end)
        except Exception as error:
            note_trouble("websocket", error, "it is closed")
            connection.close()
            self._end()

    def _end(self) -> None:
        while self._at_end:
            self._at_end.pop()()


def _accept_token() -> str:
    handshake = H11Handshake(ConnectionType.SERVER)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers]
    try:
        handshake.initiate_upgrade_connection(headers, "/")
    except RemoteProtocolError as error:
        status = getattr(error.event_hint, "status_code", 400)
        raise Problem(status, f"This is no handshake of a WebSocket: {error}.") from None
    return generate_accept_token(request.headers["Sec-WebSocket-Key"].encode()).decode()
