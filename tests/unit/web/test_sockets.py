"""`cutmv.web.sockets`: one thread owns all WebSockets, whatever their clients do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from cutmv.transports.cloudflare import threads_report, troubles
from cutmv.web.sockets import CLOSE_SIGNED_OUT, SocketThread, WebSocket, thread, web_socket
from tests.support.processes import wait_for

#: Seconds that a test waits for what comes at once.
PATIENCE_S = 20.0


class Client:
    """The other end of a WebSocket."""

    def __init__(self, sockets: SocketThread, credential: object = None) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(PATIENCE_S)
        self.acted: list[str] = []
        self.ended: list[None] = []
        self._frames = Connection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        heed: Callable[[str], Any] = lambda text: lambda: self.acted.append(text)  # noqa: E731
        self.opened = sockets.new(credential, heed, lambda: self.ended.append(None))
        sockets.add(self.opened, theirs)

    def send(self, event: Event) -> None:
        self.line.sendall(self._frames.send(event))

    def next(self) -> Event:
        """The next event that comes; pings are answered."""
        while True:
            if not self._events:
                data = self.line.recv(65536)
                assert data, "the line has ended"
                self._frames.receive_data(data)
                self._events += self._frames.events()
                continue
            event = self._events.pop(0)
            if not isinstance(event, Ping):
                return event
            self.send(event.response())

    def text(self) -> str:
        event = self.next()
        while isinstance(event, TextMessage) and not event.message_finished:
            more = self.next()
            assert isinstance(more, TextMessage)
            event = TextMessage(event.data + more.data, message_finished=more.message_finished)
        assert isinstance(event, TextMessage), event
        return event.data

    def code(self) -> int:
        """The code by which it is closed, which is answered."""
        event = self.next()
        while isinstance(event, Message):
            event = self.next()
        assert isinstance(event, CloseConnection), event
        with suppress(OSError, LocalProtocolError):  # it has been answered already
            self.send(event.response())
        return event.code

    def is_over(self) -> bool:
        """Whether the line has ended."""
        try:
            return not self.line.recv(65536)
        except ConnectionResetError:
            return True

    def hang_up(self) -> None:
        self.line.close()


@pytest.fixture
def good() -> set[object]:
    """The credentials that are good."""
    return {"ann", "bob"}


@pytest.fixture
def sockets(good: set[object], monkeypatch: pytest.MonkeyPatch) -> Iterator[SocketThread]:
    monkeypatch.setattr(thread, "LOOK_S", 0.02)
    monkeypatch.setattr(thread, "CHECK_S", 0.02)
    monkeypatch.setattr(web_socket, "CLOSE_TIMEOUT_S", 0.2)
    forget_troubles(monkeypatch)
    owner = SocketThread(lambda credential: credential in good)
    owner.start()
    yield owner
    owner.close()
    assert not owner._thread.is_alive()
    assert threads_report()["errors"] == 0


def forget_troubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "_troubles", troubles._Troubles())


def fill(client: Client, text: str = "x" * 8_000) -> None:
    """Tell a client who reads nothing as much as it is sent."""
    for _ in range(60):
        client.opened.tell(text)


def test_all_are_told_in_order_by_frames_that_are_made_once(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    frame = web_socket.framed
    monkeypatch.setattr(thread, "framed", lambda text: made.append(text) or frame(text))
    clients = [Client(sockets) for _ in range(3)]

    for text in ("one", "two"):
        for client in clients:
            client.opened.tell(text)

    assert [[client.text(), client.text()] for client in clients] == [["one", "two"]] * 3
    assert made == ["one", "two"]
    assert sockets.count == 3


def test_one_that_is_told_something_before_it_is_open_loses_nothing(sockets: SocketThread) -> None:
    ours, theirs = socket.socketpair()
    opened = sockets.new(None, lambda _text: None, lambda: None)
    opened.tell("early")

    sockets.add(opened, theirs)

    ours.settimeout(PATIENCE_S)
    assert ours.recv(100) == web_socket.framed("early")
    ours.close()


def test_threads_stay_as_many_as_they_were(sockets: SocketThread) -> None:
    first = Client(sockets)
    first.opened.tell("hello")
    assert first.text() == "hello"
    before = threading.active_count()

    clients = [Client(sockets) for _ in range(200)]
    for client in clients:
        client.opened.tell("hello")

    assert {client.text() for client in clients} == {"hello"}
    assert threading.active_count() <= before + 2  # its helpers


def test_a_client_that_takes_nothing_is_ended_and_keeps_nobody_waiting(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "STALLED_S", 0.5)
    deaf, other = Client(sockets), Client(sockets)

    fill(deaf)
    other.opened.tell("hello")

    assert other.text() == "hello"
    wait_for(lambda: deaf.ended, PATIENCE_S, "it is ended")
    assert not other.ended


def test_a_client_that_takes_what_there_is_slowly_is_not_ended(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "STALLED_S", 2.5)
    slow = Client(sockets)
    fill(slow)

    for _ in range(60):
        assert slow.text()
        time.sleep(0.05)  # this is its pace: longer in all than one may stall

    assert not slow.ended


def test_what_waits_for_one_is_bounded(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "MAX_WAITING_BYTES", 300_000)
    monkeypatch.setattr(web_socket, "STALLED_S", 100.0)
    deaf = Client(sockets)
    fill(deaf)
    wait_for(lambda: deaf.opened.held_bytes, PATIENCE_S, "it is behind")

    fill(deaf)

    wait_for(lambda: deaf.ended, PATIENCE_S, "it is ended")


def test_what_waits_for_all_is_bounded_and_those_with_most_are_ended(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "MAX_HELD_BYTES", 500_000)
    monkeypatch.setattr(web_socket, "STALLED_S", 100.0)
    greedy, modest = Client(sockets), Client(sockets)
    modest.opened.tell("x" * 400_000)
    greedy.opened.tell("x" * 700_000)

    wait_for(lambda: greedy.ended, PATIENCE_S, "it is ended")
    assert modest.text() == "x" * 400_000
    assert not modest.ended


def test_a_large_message_arrives_whole(sockets: SocketThread) -> None:
    client = Client(sockets)
    client.opened.tell("x" * 3_000_000)
    assert client.text() == "x" * 3_000_000


def test_a_credential_that_has_ended_ends_its_websockets(
    sockets: SocketThread, good: set[object]
) -> None:
    anns, bob, nobody = [Client(sockets, "ann") for _ in range(3)], Client(sockets, "bob"), None
    nobody = Client(sockets)

    good.remove("ann")

    assert [each.code() for each in anns] == [CLOSE_SIGNED_OUT] * 3
    for other in (bob, nobody):
        other.opened.tell("still here")
        assert other.text() == "still here"


def test_each_credential_is_looked_up_once_for_all_that_showed_it() -> None:
    asked: list[object] = []
    owner = SocketThread(lambda credential: bool(asked.append(credential)) or True)
    of = [owner.new(credential, lambda _text: None, lambda: None) for credential in "aabab"]

    owner._check(tuple(of))

    assert sorted(map(str, asked)) == ["a", "b"]
    owner.close()


def test_a_client_that_answers_no_ping_has_gone(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "PING_S", 0.4)
    there, gone = Client(sockets), Client(sockets)
    reading = threading.Thread(target=lambda: there.code())
    reading.start()

    wait_for(lambda: gone.ended, PATIENCE_S, "it is ended")

    assert not there.ended
    there.opened.close(1000)
    reading.join(PATIENCE_S)


def test_a_silent_line_has_a_tick(sockets: SocketThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket, "TICK_S", 0.1)
    assert Client(sockets).text() == '{"type": "ping"}'


def test_a_ping_is_answered(sockets: SocketThread) -> None:
    client = Client(sockets)
    client.send(Ping(b"there?"))
    assert client.next() == Pong(b"there?")


def test_the_last_of_many_messages_is_acted_on(sockets: SocketThread) -> None:
    client = Client(sockets)
    for number in range(50):
        client.send(TextMessage(str(number)))

    wait_for(lambda: client.acted and client.acted[-1] == "49", PATIENCE_S, "it is acted on")
    assert len(client.acted) <= 2


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([TextMessage("x" * 129)], 1009),
        ([TextMessage("x" * 100, message_finished=False), TextMessage("x" * 100)], 1009),
        ([TextMessage("x" * 100)] * 700, 1008),
        ([Message(b"x")], 1008),
    ],
    ids=["message", "parts", "all", "bytes"],
)
def test_a_client_that_says_too_much_is_ended(
    sockets: SocketThread, said: list[Event], code: int
) -> None:
    client = Client(sockets)
    for event in said:
        with suppress(OSError):
            client.send(event)

    assert client.code() == code
    wait_for(lambda: client.ended, PATIENCE_S, "it is ended")


def test_bytes_that_are_no_frames_end_it(sockets: SocketThread) -> None:
    client = Client(sockets)
    client.line.sendall(b"\xff" * 50)
    assert client.code() == 1002
    wait_for(lambda: client.ended, PATIENCE_S, "it is ended")


@pytest.mark.parametrize("polite", [True, False])
def test_a_client_that_leaves_is_forgotten_once(sockets: SocketThread, polite: bool) -> None:
    client = Client(sockets)
    client.opened.tell("hello")
    assert client.text() == "hello"

    if polite:
        client.send(CloseConnection(1000))
        assert client.code() == 1000
        assert client.is_over()
    else:
        client.hang_up()

    wait_for(lambda: client.ended, PATIENCE_S, "it is ended")
    client.opened.tell("too late")
    client.opened.close(1000)
    wait_for(lambda: not sockets.count, PATIENCE_S, "it is forgotten")
    assert client.ended == [None]


def test_what_was_told_comes_before_the_close(sockets: SocketThread) -> None:
    client = Client(sockets)
    client.opened.tell("last words")
    client.opened.close(4404)
    client.opened.tell("too late")

    assert (client.text(), client.code()) == ("last words", 4404)
    assert client.is_over()


def test_a_client_that_answers_no_close_is_ended(
    sockets: SocketThread,
) -> None:
    client = Client(sockets)
    client.opened.close(1000)
    wait_for(lambda: client.ended, PATIENCE_S, "it is ended")


def test_stopping_ends_all_and_those_that_come_later(sockets: SocketThread) -> None:
    clients = [Client(sockets) for _ in range(5)]
    sockets.stop()
    late = Client(sockets)

    assert [each.code() for each in (*clients, late)] == [1001] * 6


def test_an_error_costs_one_call_and_not_the_thread(
    sockets: SocketThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a bug")

    client = Client(sockets)
    with monkeypatch.context() as broken:
        broken.setattr(WebSocket, "put", fail)
        client.opened.tell("lost")
        wait_for(lambda: threads_report()["errors"], PATIENCE_S, "it is noted")
    client.opened.tell("hello")

    assert client.text() == "hello"
    assert threads_report()["troubled"]["websocket"]["errors"] == 1
    forget_troubles(monkeypatch)
