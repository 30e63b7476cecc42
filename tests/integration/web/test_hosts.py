"""Pages whose name leads to the server (DNS rebinding) get nothing of it, over real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.web_server import WebServer, web_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("web"), CUTMV_HOSTS="studio.test") as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/jobs"),
        ("POST", "/api/uploads"),
        ("GET", "/static/main.js"),
        ("GET", "/healthz"),
        ("GET", "/there/is/nothing"),
    ],
)
def test_a_request_that_names_another_host_is_refused(
    server: WebServer, method: str, path: str
) -> None:
    # The browser takes both for one site, so it sends this with the page's requests.
    headers = {"Host": "evil.example:8000", "Sec-Fetch-Site": "same-origin"}
    answer = httpx.request(method, server.url + path, headers=headers, timeout=30.0)

    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert "CUTMV_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]:8000", "studio.test", "STUDIO.test."]
)
def test_a_request_that_names_this_host_is_answered(server: WebServer, host: str) -> None:
    answer = httpx.get(f"{server.url}/api/jobs", headers={"Host": host}, timeout=30.0)

    assert answer.status_code == 200


@pytest.mark.parametrize(("host", "status"), [("evil.example", b"421"), ("studio.test", b"404")])
def test_a_websocket_that_names_another_host_is_refused(
    server: WebServer, host: str, status: bytes
) -> None:
    there = urlsplit(server.url)
    with socket.create_connection((there.hostname or "", there.port or 0), 30.0) as connection:
        connection.sendall(
            b"GET /ws/jobs/none HTTP/1.1\r\nHost: " + host.encode() + b"\r\n"
            b"Origin: http://" + host.encode() + b"\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(100).split()[1] == status
