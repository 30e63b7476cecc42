"""Sockets of a push server that send nothing, or half of a request, or too many of them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from cutmv.transports.cloudflare.edge import PushServer, push_connections, push_gate, signature
from cutmv.transports.cloudflare.edge.push_gate import DELIVERIES
from tests.integration.transport.test_push import ANSWER_S, KEYS, Push
from tests.support.transport import wait_until

#: Seconds for a request's headers here, and connections at most.
HEADERS_S, MOST = 0.5, 6


class Holding:
    """A push consumer that keeps each message."""

    def take(self, *_: Any) -> float:
        return 60.0

    def withdraw(self, _: Any) -> None: ...

    def broken(self, _: Any) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(push_connections, "REQUEST_TIMEOUT", HEADERS_S)
    monkeypatch.setattr(push_connections, "MAX_CONNECTIONS", MOST)
    server = PushServer(KEYS, "127.0.0.1", 0)
    server.attach("work", Holding())
    yield server.address[1]
    server.close(0)


@pytest.fixture
def sockets(port: int) -> Iterator[Any]:
    with ExitStack() as stack:

        def open_one(sent: bytes = b"") -> socket.socket:
            each = stack.enter_context(socket.create_connection(("127.0.0.1", port), ANSWER_S))
            each.sendall(sent)
            return each

        yield open_one


def closed(each: socket.socket) -> bool:
    """Whether the other end has closed it; what it sent before is dropped."""
    each.setblocking(False)
    try:
        return each.recv(65536) == b"" or closed(each)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


HALF = b"POST /v1/deliveries HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", HALF, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HALF],
    ids=["nothing", "half of a request", "half of the second request"],
)
def test_who_does_not_go_on_is_hung_up_on(port: int, sockets: Any, sent: bytes) -> None:
    """Also one that sends a byte now and then; a batch that is being answered stays."""
    held = Push(port, "x")
    each = sockets(sent)
    began = time.monotonic()

    def hung_up() -> bool:
        with suppress(OSError):
            each.send(b"x" if sent else b"")
        return closed(each)

    wait_until(hung_up, HEADERS_S + 5, "it is closed")
    assert time.monotonic() - began >= HEADERS_S - 0.1
    assert held.waits
    held.cut()


def test_one_connection_too_many_costs_the_oldest_without_a_signed_batch_its_place(
    port: int, sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_connections, "REQUEST_TIMEOUT", 60.0)
    held = [Push(port, "x") for _ in range(2)]
    slow_body = sockets(HALF + b"Content-Length: 100\r\n\r\n")
    others = [sockets() for _ in range(10)]

    wait_until(lambda: [closed(each) for each in others].count(False) == MOST - 2, ANSWER_S)
    assert closed(slow_body)
    assert [closed(each) for each in others] == [True] * 6 + [False] * 4
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"ok": True}
    held += [Push(port, "x") for _ in range(MOST - 2)]
    assert all(push.waits for push in held)

    body = b'{"queue": "work", "messages": []}'
    with pytest.raises(httpx.TransportError):  # of the Worker's own, too, none has a place
        httpx.post(
            f"http://127.0.0.1:{port}/v1/deliveries",
            content=body,
            headers=signature.headers(KEYS, DELIVERIES, body),
        )
    assert all(push.waits for push in held)
    for push in held:
        push.cut()


def answered(each: socket.socket) -> int:
    """The status of the answer."""
    each.settimeout(ANSWER_S)
    return int(each.recv(4096).split()[1])


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ({"webhook-timestamp": str(int(time.time()) - 400)}, 401),
        ({"content-length": "2000001"}, 413),
    ],
)
def test_a_batch_is_refused_by_its_headers_before_its_body_comes(
    sockets: Any, given: dict[str, str] | None, status: int
) -> None:
    assert answered(sockets(head(given))) == status


def test_a_body_that_comes_slowly_is_given_up(
    sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_gate, "RATE_GRACE", 0.3)
    assert answered(sockets(head({}) + b"half")) == 408


def test_bodies_of_strangers_fill_no_memory(sockets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_gate, "MAX_UNVERIFIED", 100)
    monkeypatch.setattr(push_gate, "RATE_GRACE", ANSWER_S)
    both = [sockets(head({}) + b"x" * 60) for _ in range(2)]
    select.select(both, [], [], ANSWER_S)
    assert answered(select.select(both, [], [])[0][0]) == 503


def test_what_strangers_sent_before_does_not_count(
    sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_gate, "MAX_UNVERIFIED", 100)
    assert [answered(sockets(head({}) + b"x" * 90)) for _ in range(3)] == [401] * 3


def test_a_body_of_no_said_length_is_bounded_too(
    sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_gate, "MAX_BODY", 100)
    monkeypatch.setattr(push_gate, "RATE_GRACE", ANSWER_S)
    chunked = head({}).replace(b"content-length: 90", b"transfer-encoding: chunked")
    assert answered(sockets(chunked + b"96\r\n" + b"x" * 150 + b"\r\n")) == 413


def head(given: dict[str, str] | None) -> bytes:
    """The head of a request for which only the signature itself is wrong."""
    signed = {} if given is None else signature.headers(KEYS, DELIVERIES) | given
    headers = {"host": "a", "content-length": "90"} | signed
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/deliveries HTTP/1.1\r\n{lines}\r\n".encode()
