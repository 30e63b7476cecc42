"""What all WebSockets of ours have in common: who watches by one, and how it begins and ends."""

import socket
from collections.abc import Callable

from flask import g

from cutmv.database import DATABASE_AWAY, passes
from cutmv.jobs import UnknownJob
from cutmv.progress import Ending, Watcher
from cutmv.transports.cloudflare import note_trouble
from cutmv.web.access import person
from cutmv.web.auth.credentials import Onlooker
from cutmv.web.live.upgrade import Upgrade
from cutmv.web.sockets import (
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_TRY_AGAIN_LATER,
    Act,
    WebSocket,
)
from cutmv.web.state import web

#: The close code, of our own, for a job that was deleted while it was watched.
CLOSE_JOB_DELETED = 4404
#: How a WebSocket is closed, by why there is nothing more to tell.
CODES = {Ending.JOB_ENDED: CLOSE_NORMAL, Ending.JOB_DELETED: CLOSE_JOB_DELETED}

#: Tells somebody what a WebSocket begins with, and from then on what happens.
Begin = Callable[[Watcher], None]
#: What is to be done about a client's message; None for nothing.
Heed = Callable[[str, Watcher], Act | None]


class SocketWatcher:
    """Whoever looks on by a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def tell(self, text: str) -> None:
        """See Watcher."""
        self._socket.tell(text)

    def end(self, why: Ending) -> None:
        """See Watcher."""
        self._socket.close(CODES[why])


def watching(begin: Begin, heed: Heed) -> Upgrade:
    """Answer this request, a handshake, and have its WebSocket told of what happens.

    It stays open while what the request showed is good, and lets them see as much. Raises Problem.
    """
    here, credential = web(), g.credential
    onlooker = Onlooker(credential, person().sees) if credential else None

    def opened(connection: socket.socket, ended: Act) -> None:
        def end() -> None:
            here.live.leave(watcher)
            ended()

        def act_on(text: str) -> Act | None:
            act = heed(text, watcher)
            return None if act is None else lambda: attempt(opening, act)

        opening = here.sockets.new(onlooker, act_on, end)
        watcher = SocketWatcher(opening)
        # Before it is added: nobody who has left already begins to watch.
        attempt(opening, lambda: begin(watcher))
        here.sockets.add(opening, connection)

    return Upgrade(opened)


def attempt(which: WebSocket, act: Act) -> None:
    """Do something for a WebSocket, which is closed where that fails."""
    try:
        act()
    except UnknownJob:
        which.close(CLOSE_JOB_DELETED)
    except Exception as error:
        if isinstance(error, DATABASE_AWAY) and passes(error):
            which.close(CLOSE_TRY_AGAIN_LATER)
        else:
            note_trouble("websocket", error, "it is closed")
            which.close(CLOSE_INTERNAL_ERROR)
