"""The pace that a client's socket has to keep."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from cutmv.web import connections
from cutmv.web.connections import PacedSocket, TooSlow


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PacedSocket, socket.socket]]:
    """The server's end, which allows a tenth of a second, and the client's."""
    monkeypatch.setattr(connections, "GRACE_S", 0.1)
    ours, theirs = socket.socketpair()
    with PacedSocket.of(ours) as paced, theirs:
        yield paced, theirs


def test_a_client_that_sends_nothing_is_ended(ends: tuple[PacedSocket, socket.socket]) -> None:
    paced, _ = ends
    paced.begin()
    with pytest.raises(TooSlow):
        paced.recv(100)
    assert paced.too_slow


def test_a_client_that_drips_is_ended(ends: tuple[PacedSocket, socket.socket]) -> None:
    paced, theirs = ends
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.01):
            theirs.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    paced.begin()
    try:
        with pytest.raises(TooSlow):
            while True:
                paced.recv(100)
    finally:
        ended.set()
        thread.join()


def test_a_client_that_reads_nothing_is_ended(ends: tuple[PacedSocket, socket.socket]) -> None:
    paced, _ = ends
    paced.min_rate = 1_000_000
    paced.begin()
    with pytest.raises(TooSlow):
        for _ in range(1_000):
            paced.sendall(b"x" * 1_000_000)


def test_a_client_that_keeps_the_pace_goes_on(ends: tuple[PacedSocket, socket.socket]) -> None:
    paced, theirs = ends
    paced.begin()
    for _ in range(100):
        theirs.sendall(b"x" * 1_000)
        assert len(paced.recv(1_000)) == 1_000
    paced.sendall(b"y" * 10_000)
    assert len(theirs.recv(10_000)) > 0


def test_a_new_request_has_all_its_time(ends: tuple[PacedSocket, socket.socket]) -> None:
    paced, theirs = ends
    paced.begin()
    with pytest.raises(TooSlow):
        paced.recv(1)
    paced.begin()
    theirs.send(b"x")
    assert paced.recv(1) == b"x"
