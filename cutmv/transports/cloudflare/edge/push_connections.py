"""The open connections of a push server: bounds that hold before anybody has shown a key.

Who reaches the address may open sockets and send nothing, or half of a request. A connection has
`REQUEST_TIMEOUT` for its first request's headers, and after each response for the next one's. There
are `most` connections; one more costs the place of the oldest over which no signed batch is being
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

#: Seconds for a request's headers, from the connection's beginning or the end of a response.
REQUEST_TIMEOUT = 10.0

#: Connections at most: those of all messages that may wait here, and some to spare. They take half
#: of the files that the process may open, at most.
MAX_CONNECTIONS = 2_500

#: A connection's other end: its host and port.
Peer = tuple[str, int]

App = Callable[[Any, Any, Any], Awaitable[None]]

_listening: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class Connections:
    """Counts and ends the connections of one push server, in its event loop."""

    def __init__(self) -> None:
        self.most = min(MAX_CONNECTIONS, _open_files() // 2)
        self._open: dict[Peer, asyncio.Transport] = {}
        #: Those without a signed batch, the oldest first; each has a timer until its request comes.
        self._strangers: dict[Peer, asyncio.TimerHandle | None] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """Return uvicorn's HTTP protocol, which tells of its connections."""
        from uvicorn.protocols.http.auto import AutoHTTPProtocol

        return type("Told", (_Told, AutoHTTPProtocol), {"push_connections": self})

    def told_by(self, app: App) -> App:
        """Return an ASGI application that tells of its requests."""

        async def told(scope: Any, receive: Any, send: Any) -> None:
            peer = scope["client"]
            if (timer := self._strangers.get(peer)) is not None:
                timer.cancel()
                self._strangers[peer] = None
            try:
                await app(scope, receive, send)
            finally:
                if peer in self._open:
                    self._expect(peer)

        return told

    def keep(self, peer: Any) -> None:
        """Keep a connection until its request, a signed batch, has been answered."""
        self._strangers.pop(peer, None)

    def opened(self, peer: Peer, transport: asyncio.Transport) -> None:
        """Note a new connection; end another, if there are too many."""
        self._open[peer] = transport
        self._expect(peer)
        if len(self._open) > self.most:
            self._end(next(iter(self._strangers)))

    def _expect(self, peer: Peer) -> None:
        """Have a connection end unless a request comes."""
        loop = asyncio.get_running_loop()
        self._strangers.pop(peer, None)
        self._strangers[peer] = loop.call_later(REQUEST_TIMEOUT, self._end, peer)

    def _end(self, peer: Peer) -> None:
        transport = self._open[peer]
        self.forget(peer)
        transport.abort()

    def forget(self, peer: Peer) -> None:
        """Note that a connection has ended."""
        self._open.pop(peer, None)
        if (timer := self._strangers.pop(peer, None)) is not None:
            timer.cancel()


class _Told(asyncio.Protocol):
    """What uvicorn's HTTP protocol does besides, as a class to derive it from."""

    push_connections: Connections
    other_end: Peer

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)  # none if it is gone
        self.other_end = host, port
        self.push_connections.opened(self.other_end, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.push_connections.forget(self.other_end)
        super().connection_lost(exc)


def leave_to_parent(listening: socket.socket) -> None:
    """Have a forked child close its copy of a socket: connections to it would hang."""
    _listening.add(listening)


def _close_copies() -> None:
    for listening in list(_listening):
        listening.close()


os.register_at_fork(after_in_child=_close_copies)


def _open_files() -> int:
    """Return how many files the process may open, or as good as any number."""
    with contextlib.suppress(ImportError):  # Windows knows no such limit
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return soft
    return 2 * MAX_CONNECTIONS
