"""One open WebSocket: what it has to send, what came of its client, and how it ends.

Any thread may tell it something, and end it; all else happens in the thread that owns it.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

#: Close codes (RFC 6455 7.4 and its registry): the job ended; the server stops, failed, is full.
CLOSE_NORMAL, CLOSE_GOING_AWAY = 1000, 1001
CLOSE_INTERNAL_ERROR, CLOSE_TRY_AGAIN_LATER = 1011, 1013
#: Close codes for a client that says too much, in all or in one message.
CLOSE_POLICY_VIOLATION, CLOSE_TOO_BIG = 1008, 1009
#: The close code, of our own, for a credential that is good no more.
CLOSE_SIGNED_OUT = 4401
#: Bytes of the largest message from a client, which says no more than which job it shows; and of
#: all that it sends from one ping to the next.
MAX_MESSAGE_BYTES, MAX_RECEIVED_BYTES = 128, 64 * 1024
#: Bytes that are handed to the kernel and its socket at a time, and that wait while a client takes
#: none of them: with more it is ended, and comes back for what it has missed.
BUFFER_BYTES, MAX_WAITING_BYTES = 64 * 1024, 1024 * 1024
#: Seconds between pings. A client that has not answered one by the next has gone.
PING_S = 20.0
#: Seconds of silence after which a client is told that the line is good.
TICK_S = 10.0
#: Seconds for which a client may take nothing of what waits for it.
STALLED_S = 10.0
#: Seconds for which the client's close frame is waited for.
CLOSE_TIMEOUT_S = 2.0
#: Seconds between two messages of a client that are acted on; of those between, the last one is.
HEED_S = 0.25

#: Makes frames: without extensions they are the same for all clients.
_frames = Connection(ConnectionType.SERVER)
_PING = _frames.send(Ping())


def framed(text: str) -> bytes:
    """The frame of a text message of the server's."""
    return _frames.send(TextMessage(text))


TICK = framed(json.dumps({"type": "ping"}))

#: What is to be done about a message of a client, by a thread that may wait; None for nothing.
Act = Callable[[], None]
Heed = Callable[[str], Act | None]


class Owner(Protocol):
    """The thread that owns a WebSocket. All but `helped` may be called by any thread."""

    def tell(self, to: "WebSocket", text: str) -> None:
        """Send a text after all that was told before."""

    def close_one(self, which: "WebSocket", code: int) -> None:
        """End a WebSocket after all that was told before."""

    def helped(self, act: Act) -> None:
        """Have another thread do what may wait."""

    def lost(self, which: "WebSocket") -> None:
        """Take notice that a WebSocket's connection has ended."""


class WebSocket(asyncio.Protocol):
    """A client's WebSocket, which is open while the `credential` is good that its client showed.

    `heed` reads a message of the client's; `ended` is called once, when nothing more is sent.
    """

    def __init__(self, owner: Owner, credential: object, heed: Heed, ended: Act) -> None:
        self.credential, self.ended = credential, ended
        self._owner, self._heed = owner, heed
        self._connection = Connection(ConnectionType.SERVER)
        self._transport: asyncio.Transport | None = None
        #: Frames that are not yet the transport's, and their bytes.
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        #: Whether the transport has enough; what it had when the client last took something.
        self._full, self._left = False, 0
        now = time.monotonic()
        self._taken_at = self._sent_at = self._pinged_at = now
        self._answered, self._received, self._message = True, 0, ""
        self._act: Act | None = None
        self._heeded_at = 0.0
        #: When it is given up, once it is closing.
        self._ends_at: float | None = None

    def tell(self, text: str) -> None:
        """Send a text; returns at once."""
        self._owner.tell(self, text)

    def close(self, code: int) -> None:
        """End it, after all that was told; returns at once."""
        self._owner.close_one(self, code)

    # What follows is for the thread that owns it.

    def put(self, frame: bytes) -> None:
        """Have a frame sent with the next `flush`, unless the WebSocket is closing."""
        if self._ends_at is None:
            self._put(frame)

    def flush(self) -> None:
        """Send what waits, or as much of it as the client takes."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._full:
            if self._waiting_bytes > MAX_WAITING_BYTES:
                self._transport.abort()
        elif self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._sent_at = time.monotonic()
            self._transport.write(data)

    def shut(self, code: int) -> None:
        """Send a close frame, and give the client a while to answer."""
        if self._ends_at is not None:
            return
        with suppress(LocalProtocolError):  # it has been closed by the client
            self._put(self._connection.send(CloseConnection(code)))
        self._ends_at = time.monotonic() + CLOSE_TIMEOUT_S
        self.flush()

    def look(self, now: float) -> None:
        """Do what is due at this time, which is told once a second."""
        if self._transport is None:
            return
        if self._full:
            left = self.held_bytes - self._waiting_bytes
            if left < self._left:
                self._left, self._taken_at = left, now
        stalled = self._full and now - self._taken_at >= STALLED_S
        if stalled or (self._ends_at is not None and now >= self._ends_at):
            self._transport.abort()
        elif now - self._pinged_at >= PING_S:
            if not self._answered:
                self.shut(CLOSE_POLICY_VIOLATION)
            self._pinged_at, self._answered, self._received = now, False, 0
            self.put(_PING)
        elif now - self._sent_at >= TICK_S:
            self.put(TICK)
        self.flush()

    @property
    def held_bytes(self) -> int:
        """The bytes that it holds for a client that does not take them."""
        buffered = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return buffered + self._waiting_bytes

    def drop(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol: it is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(BUFFER_BYTES)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """See asyncio.Protocol: it has ended."""
        self._transport, self._ends_at = None, 0.0
        self._waiting.clear()
        self._waiting_bytes = 0
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client is behind."""
        self._full, self._taken_at = True, time.monotonic()
        self._left = self.held_bytes

    def resume_writing(self) -> None:
        """See asyncio.Protocol: the client has caught up."""
        self._full = False
        self.flush()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol: read what the client sends."""
        self._received += len(data)
        if self._received > MAX_RECEIVED_BYTES:
            if self._ends_at is None:
                self.shut(CLOSE_POLICY_VIOLATION)
            else:
                self.drop()
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, CloseConnection):
                self._answer_close(event)
                return
            if self._ends_at is not None:  # nothing but its answer is waited for
                continue
            if isinstance(event, Ping):
                self.put(self._connection.send(event.response()))
            elif isinstance(event, Pong):
                self._answered = True
            elif isinstance(event, TextMessage):
                self._take(event)
            else:
                self.shut(CLOSE_POLICY_VIOLATION)
        self.flush()

    def _put(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)

    def _answer_close(self, event: CloseConnection) -> None:
        """The client closes, answers a close, or sends what is no WebSocket's."""
        with suppress(LocalProtocolError):  # its answer to ours
            self.put(self._connection.send(event.response()))
        self.flush()
        self._ends_at = time.monotonic() + CLOSE_TIMEOUT_S
        if self._transport is not None:
            self._transport.close()

    def _take(self, event: TextMessage) -> None:
        self._message += event.data
        if len(self._message) > MAX_MESSAGE_BYTES:
            self._message = ""
            self.shut(CLOSE_TOO_BIG)
        elif event.message_finished:
            text, self._message = self._message, ""
            if (act := self._heed(text)) is not None:
                if self._act is None:
                    wait_s = max(0.0, self._heeded_at + HEED_S - time.monotonic())
                    asyncio.get_running_loop().call_later(wait_s, self._do)
                self._act = act

    def _do(self) -> None:
        act, self._act = self._act, None
        self._heeded_at = time.monotonic()
        if act is not None and self._transport is not None:
            self._owner.helped(act)
