"""The thread that owns all open WebSockets, and its helpers for what may wait."""

import asyncio
import contextlib
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cutmv.transports.cloudflare import note_trouble
from cutmv.web.sockets.web_socket import (
    BUFFER_BYTES,
    CLOSE_GOING_AWAY,
    CLOSE_SIGNED_OUT,
    CLOSE_TIMEOUT_S,
    Act,
    Heed,
    WebSocket,
    framed,
)

#: Seconds between looks at each WebSocket, and at what its client showed, which may have ended.
LOOK_S, CHECK_S = 1.0, 2.0
#: Bytes that wait for all clients that do not take them; of more, those that have most are ended.
MAX_HELD_BYTES = 64 * 1024 * 1024
#: Seconds between looks at whether the last has ended, once all are to end.
END_LOOK_S = 0.02
#: The name of the thread, by which its errors are counted.
NAME = "websocket"


class SocketThread:
    """Owns the open WebSockets of a process. `is_good` says whether a client's credential still is.

    >>> opened = sockets.new(credential, heed, ended)
    >>> opened.tell("hello")
    >>> sockets.add(opened, connection)
    """

    def __init__(self, is_good: Callable[[Any], bool]) -> None:
        self._is_good = is_good
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._helper = ThreadPoolExecutor(1, thread_name_prefix=f"{NAME}-helper")
        #: Looks up what clients showed, which may take long: nobody waits behind it.
        self._checker = ThreadPoolExecutor(1, thread_name_prefix=f"{NAME}-checker")
        self._sockets: set[WebSocket] = set()
        #: Those whose end has yet to be noted by who waits for it, too.
        self._held: set[WebSocket] = set()
        self._adding: set[asyncio.Task[None]] = set()
        #: What other threads want done, in their order; and whether the loop was told so.
        self._wanted: deque[Act] = deque()
        self._told = False
        self._to_flush: set[WebSocket] = set()
        #: The text that was told last, and its frame.
        self._latest = ("", b"")
        self._stopping = False
        self._checking, self._checked_at = False, 0.0

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note)
        self._thread.start()

    def close(self) -> None:
        """End all WebSockets, and then the threads."""
        if self._thread.is_alive():
            self.stop()
            self._call(self._end_when_empty)
            self._thread.join(2 * CLOSE_TIMEOUT_S + LOOK_S)
        for pool in (self._helper, self._checker):
            pool.shutdown(wait=False, cancel_futures=pool is self._checker)

    def stop(self) -> None:
        """End all WebSockets, and from now on each new one; a signal handler may call it."""
        self._call(self._end_all)

    def new(self, credential: object, heed: Heed, ended: Act) -> WebSocket:
        """A WebSocket, which can be told something, and has yet to be added."""
        return WebSocket(self, credential, heed, ended)

    def add(self, which: WebSocket, connection: socket.socket) -> None:
        """Own a WebSocket, whose handshake is done on a connection, until it ends."""
        self._call(partial(self._add, which, connection))

    @property
    def count(self) -> int:
        """How many are open, or ended a moment ago and still count as one of their client's."""
        return len(self._held)

    def tell(self, to: WebSocket, text: str) -> None:
        """See Owner."""
        self._call(partial(self._tell, to, text))

    def close_one(self, which: WebSocket, code: int) -> None:
        """See Owner."""
        self._call(partial(which.shut, code))

    def helped(self, act: Act) -> None:
        """See Owner. What it raises is noted."""
        _submit(self._helper, act)

    def lost(self, which: WebSocket) -> None:
        """See Owner."""
        if which in self._sockets:
            self._sockets.discard(which)
            self.helped(partial(self._let_go, which))

    def _let_go(self, which: WebSocket) -> None:
        try:
            which.ended()
        finally:
            self._held.discard(which)

    def _call(self, act: Act) -> None:
        """Have the loop do something, after what it was asked to do before."""
        self._wanted.append(act)
        if not self._told and self._loop is not None:
            self._told = True
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._do_wanted)

    def _do_wanted(self) -> None:
        self._told = False  # before the first is taken, so that of what comes now it is told anew
        while self._wanted:
            _noting(self._wanted.popleft())
        to_flush, self._to_flush = self._to_flush, set()
        for each in to_flush:
            each.flush()

    def _tell(self, to: WebSocket, text: str) -> None:
        # An event is told to all who see it in a row, so its frame is made once.
        if self._latest[0] is not text:
            self._latest = (text, framed(text))
        to.put(self._latest[1])
        self._to_flush.add(to)

    def _add(self, which: WebSocket, connection: socket.socket) -> None:
        self._sockets.add(which)
        self._held.add(which)
        if self._stopping:
            which.shut(CLOSE_GOING_AWAY)
        assert self._loop is not None  # noqa: S101 (it calls this)
        task = self._loop.create_task(self._own(which, connection))
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    async def _own(self, which: WebSocket, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: which, connection)
        except OSError:  # it is gone
            connection.close()
            self.lost(which)

    def _end_all(self) -> None:
        self._stopping = True
        for each in tuple(self._sockets):
            each.shut(CLOSE_GOING_AWAY)

    def _end_when_empty(self) -> None:
        assert self._loop is not None  # noqa: S101 (it calls this)
        if self._sockets:
            self._loop.call_later(END_LOOK_S, self._end_when_empty)
        else:
            self._loop.stop()

    def _run(self) -> None:
        assert self._loop is not None  # noqa: S101 (start made it)
        self._loop.call_later(LOOK_S, self._look)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _look(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_S, self._look)
        now = time.monotonic()
        for each in tuple(self._sockets):
            each.look(now)
        self._bound_held()
        if not self._checking and now - self._checked_at >= CHECK_S:
            self._checking, self._checked_at = True, now
            _submit(self._checker, partial(self._check, tuple(self._sockets)))

    def _bound_held(self) -> None:
        """End those for whom most waits, where there is too much in all."""
        held = {each: size for each in self._sockets if (size := each.held_bytes)}
        in_all = sum(held.values())
        for each in sorted(held, key=held.__getitem__, reverse=True):
            if in_all <= MAX_HELD_BYTES:
                return
            in_all -= held[each]
            each.drop()

    def _check(self, sockets: tuple[WebSocket, ...]) -> None:
        """End the WebSockets of those who may see no more. The checker calls it."""
        by_credential: defaultdict[Any, list[WebSocket]] = defaultdict(list)
        for each in sockets:
            if each.credential is not None:
                by_credential[each.credential].append(each)
        try:
            for credential, of_one in by_credential.items():
                if not self._is_good(credential):
                    for each in of_one:
                        each.close(CLOSE_SIGNED_OUT)
        finally:
            self._checking = False


def _submit(pool: ThreadPoolExecutor, act: Act) -> None:
    with contextlib.suppress(RuntimeError):  # all has ended
        pool.submit(_noting, act)


def _noting(act: Act) -> None:
    """Do something, and note what it raises, so that the thread goes on."""
    try:
        act()
    except Exception as error:
        note_trouble(NAME, error, "it goes on")


def _note(_loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    """Note what a callback of the event loop has raised."""
    error = told.get("exception") or RuntimeError(told.get("message", "an unknown error"))
    note_trouble(NAME, error, "it goes on")
