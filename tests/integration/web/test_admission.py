"""What one client can take of a real server: its part, and no more."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from select import select
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from cutmv.config import Limits, Settings
from cutmv.services import Services
from cutmv.web import create_app, web_of
from tests.support.media import make_sample
from tests.support.processes import slowness, wait_for
from tests.support.web_server import WebServer, web_server

#: Opens a connection and sends bytes, from an address of this machine.
Connect = Callable[..., socket.socket]

#: The first bytes of an MP4.
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0"
HANDSHAKE = (
    b"GET /ws/jobs HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
UPLOAD = (
    b"POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    env = {"CUTMV_MAX_UPLOAD_BYTES": "50000", "CUTMV_MAX_ALL_UPLOADS": "20"}
    env |= {"CUTMV_MAX_SOCKETS": "5", "CUTMV_MAX_ALL_SOCKETS": "40"}
    with web_server(tmp_path_factory.mktemp("admission"), **env) as run:
        yield run


@pytest.fixture
def connect(server: WebServer) -> Iterator[Connect]:
    """Opens connections from an address of this machine, and closes them in the end."""
    port = urlsplit(server.url).port
    with ExitStack() as stack:

        def opened(sent: bytes, source: str = "127.0.0.1", takes: int = 0) -> socket.socket:
            made = stack.enter_context(socket.socket())
            made.settimeout(20)
            if takes:  # before it connects, or the other side sends more
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
            made.bind((source, 0))
            made.connect(("127.0.0.1", port or 0))
            made.sendall(sent)
            return made

        yield opened


def answered(connection: socket.socket) -> tuple[int, str]:
    text = connection.recv(4096).decode(errors="replace")  # what follows may be frames
    return int(text.split()[1]), text.lower()


def test_half_heads_of_many_clients_hold_no_thread(server: WebServer, connect: Connect) -> None:
    for number in range(250):
        connect(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", f"127.0.1.{number % 200 + 1}")
    began = time.monotonic()
    assert httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
    assert time.monotonic() - began < 3


def test_slow_uploads_leave_threads_for_others(server: WebServer, connect: Connect) -> None:
    slow = [connect(UPLOAD + b"\r\n" + MP4, f"127.0.2.{n % 25 + 1}") for n in range(150)]
    one_more = connect(UPLOAD + b"\r\n" + MP4, "127.0.2.1")
    status, text = answered(one_more)
    assert status in (429, 503)
    assert "retry-after" in text
    assert "application/problem+json" in text
    assert httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
    assert httpx.get(f"{server.url}/api/jobs", timeout=5).status_code == 200
    for each in slow:
        each.close()

    def admitted() -> bool:
        return answered(connect(UPLOAD + b"\r\n" + MP4 + b"x" * 60_000))[0] == 413

    wait_for(admitted, 30, "uploads are taken again")


def test_when_all_threads_are_held_it_still_says_that_it_is_well(
    server: WebServer, connect: Connect
) -> None:
    """Whatever holds them: here requests whose body is waited for, at routes that want none."""
    body = b"GET /api/queue-status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    probe = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    for number in range(600):
        connect(body if number % 2 else probe, f"127.0.4.{number % 250 + 1}")
    began = time.monotonic()
    assert httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
    assert time.monotonic() - began < 2 * slowness()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET /api/jobs HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400),
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
    ids=["no version", "name", "address", "header", "headers"],
)
def test_what_is_no_request_gets_a_problem(
    server: WebServer, connect: Connect, sent: bytes, status: int
) -> None:
    connection = connect(sent)
    answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"content-type: application/problem+json" in head.lower()
    told = json.loads(body)
    assert (told["status"], bool(told["title"]), bool(told["detail"])) == (status, True, True)


def test_all_clients_have_a_share_of_the_threads_which_is_a_setting(
    server: WebServer, connect: Connect
) -> None:
    head = UPLOAD + b"\r\n" + MP4
    held = [connect(head, f"127.0.5.{number + 1}") for number in range(20)]
    assert held
    wait_for(lambda: answered(connect(head, "127.0.5.100"))[0] == 503, 10, "all have enough")


def test_one_client_s_slow_bodies_leave_room_for_another_s(
    server: WebServer, connect: Connect
) -> None:
    head = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow = head + b"Content-Length: 9000\r\n\r\n{"
    of_one = [connect(slow, "127.0.10.1") for _ in range(12)]
    told = set[socket.socket]()
    wait_for(lambda: told.update(select(of_one, [], [], 1)[0]) or len(told) == 4, 20, "4 are told")
    assert {answered(each)[0] for each in told} == {429}

    whole = head + b"Content-Length: 2\r\n\r\n{}"
    assert answered(connect(whole, "127.0.10.2"))[0] == 422


def test_pages_that_are_not_read_leave_threads_for_others(
    server: WebServer, connect: Connect
) -> None:
    asked = b"GET /api/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for number in range(300):
        connect(asked * 4, f"127.0.11.{number % 100 + 1}", takes=4096)
    began = time.monotonic()
    assert httpx.get(f"{server.url}/api/jobs", timeout=10).status_code == 200
    assert time.monotonic() - began < 3 * slowness()


def test_a_refused_request_without_a_body_keeps_its_connection(tmp_path: Path) -> None:
    with web_server(tmp_path, CUTMV_MAX_REQUESTS="2") as server, httpx.Client() as client:
        ports = set()
        statuses = []
        for _ in range(5):
            with client.stream("GET", f"{server.url}/api/jobs") as answer:
                answer.read()
                statuses.append(answer.status_code)
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        assert (statuses[-1], len(ports)) == (429, 1)


def test_websockets_hold_no_thread_and_have_a_bound(server: WebServer, connect: Connect) -> None:
    [worker] = psutil.Process(server.process.child.pid).children()
    connections: list[socket.socket] = []

    def opened(client: int) -> int:
        connections.append(connect(HANDSHAKE, f"127.0.8.{client}"))
        return answered(connections[-1])[0]

    def counted(clients: int) -> bool:
        return f"cutmv_websocket_clients {clients}.0" in httpx.get(f"{server.url}/metrics").text

    assert [opened(1) for _ in range(6)] == [101] * 5 + [429]
    threads = worker.num_threads()
    assert [opened(2 + number) for number in range(35)] == [101] * 35
    assert worker.num_threads() <= threads + 20  # short requests may have had some at once
    assert opened(100) == 503
    wait_for(lambda: counted(40), 20, "they are counted")
    connections[0].close()
    wait_for(lambda: opened(1) == 101, 20, "there is room again")
    for each in connections:
        each.close()
    wait_for(lambda: counted(0), 20, "they are gone")


@pytest.mark.parametrize(
    ("handshake", "status"),
    [(b"Sec-WebSocket-Version: 8", 426), (b"Sec-WebSocket-Version: 13\r\nX: y", 400)],
    ids=["another version", "no key"],
)
def test_what_is_no_handshake_gets_a_problem(
    server: WebServer, connect: Connect, handshake: bytes, status: int
) -> None:
    sent = HANDSHAKE.partition(b"Sec-")[0] + handshake + b"\r\n\r\n"
    with HTTPResponse(connect(sent, "127.0.8.200")) as answer:
        answer.begin()
        told = json.loads(answer.read())  # it may come in pieces
    assert answer.status == status
    assert told["detail"].startswith("This is no handshake of a WebSocket")


def test_a_server_that_keeps_its_connections_says_so(tmp_path: Path) -> None:
    """As Flask's own, which has no way to hand one over."""
    services = Services.open(
        Settings.from_env({"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path)})
    )
    app = create_app(services, addresses=["127.0.0.1"])
    lines = HANDSHAKE.decode().split("\r\n")[1:-2]
    answer = app.test_client().get("/ws/jobs", headers=[each.split(": ") for each in lines])
    web_of(app).close()
    services.store.close()
    assert (answer.status_code, answer.json["status"]) == (501, 501)
    assert "cutmv web" in answer.json["detail"]


def test_of_more_connections_than_may_be_the_idlest_end(tmp_path: Path) -> None:
    of_threads = ("ALL_UPLOADS", "ALL_DOWNLOADS", "ALL_BODIES", "SHORT_REQUESTS")
    few = {f"CUTMV_MAX_{name}": "4" for name in of_threads}
    with web_server(tmp_path, CUTMV_MAX_CONNECTIONS="120", **few) as run, ExitStack() as stack:
        address = ("127.0.0.1", urlsplit(run.url).port or 0)
        idle = [stack.enter_context(socket.create_connection(address)) for _ in range(170)]
        for each in idle:
            each.sendall(b"GET /")

        def ended() -> int:
            return len(select(idle, [], [], 0)[0])

        wait_for(lambda: ended() >= 45, 10.0, "those that were idle longest have ended")
        assert select(idle[-100:], [], [], 0)[0] == []
        assert httpx.get(f"{run.url}/healthz", timeout=5).status_code == 200


def test_requests_a_minute_are_counted_where_nobody_signs_in_too(tmp_path: Path) -> None:
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path), "CUTMV_MAX_REQUESTS": "3"}
    services = Services.open(Settings.from_env(env))
    app = create_app(services, addresses=["127.0.0.1"])
    answers = [app.test_client().get("/api/queue-status") for _ in range(4)]
    probe = app.test_client().get("/healthz")
    web_of(app).close()
    services.store.close()
    assert [each.status_code for each in (*answers, probe)] == [200, 200, 200, 429, 200]
    assert int(answers[-1].headers["Retry-After"]) == 20


@pytest.mark.slow
def test_a_client_that_sends_too_slowly_is_ended(server: WebServer, connect: Connect) -> None:
    """Its twenty seconds may pass, and a byte now and then is no pace."""
    slow = connect(UPLOAD.replace(b"9000000", b"40000") + b"\r\n" + MP4, "127.0.12.1")
    slow.settimeout(1)
    until = time.monotonic() + 60
    answer = b""
    while not answer:
        assert time.monotonic() < until, "it goes on"
        with suppress(TimeoutError):
            answer = slow.recv(4096)
        if not answer:
            slow.sendall(b"x")
    assert answer.startswith(b"HTTP/1.1 408 "), answer


def test_so_many_videos_are_looked_at_at_once(tmp_path: Path) -> None:
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path / "data"), "CUTMV_MAX_PROBES": "1"}
    services = Services.open(Settings.from_env(env))
    app = create_app(services, addresses=["127.0.0.1"])
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(320, 180)).read_bytes()

    def send() -> int:
        path = "/api/uploads?filename=v.mp4"
        return app.test_client().post(path, data=video, buffered=True).status_code

    with web_of(app).probing, ThreadPoolExecutor(1) as others:  # another is looked at
        sent = others.submit(send)
        wait_for(lambda: list(services.storage.list("uploads/")), 20, "it is stored")
        with pytest.raises(TimeoutError):
            sent.result(1.0)
        web_of(app).probing.release()
        assert sent.result(30.0) == 201
        web_of(app).probing.acquire()
    web_of(app).close()
    services.store.close()


@pytest.mark.parametrize(("most", "status"), [(0, 503), (1, 401)])
def test_where_all_have_enough_nobody_is_looked_up(tmp_path: Path, most: int, status: int) -> None:
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path), "CUTMV_SIGN_IN": "always"}
    settings = replace(Settings.from_env(env), limits=Limits(all_uploads=most))
    services = Services.open(settings)
    app = create_app(services)
    answer = app.test_client().post("/api/uploads?filename=a.mp4", data=MP4)
    web_of(app).close()
    services.store.close()
    assert answer.status_code == status


def test_one_client_s_uploads_leave_room_for_another_s(server: WebServer, connect: Connect) -> None:
    head = UPLOAD + b"\r\n" + MP4
    held = [connect(head, "127.0.3.1") for _ in range(8)]
    assert held
    wait_for(lambda: answered(connect(head, "127.0.3.1"))[0] == 429, 10, "it has enough")
    too_large = connect(head + b"x" * 60_000, "127.0.3.2")
    assert answered(too_large)[0] == 413


def test_an_upload_over_the_limit_is_told_so_after_all_was_sent(
    server: WebServer, connect: Connect
) -> None:
    """Without a broken pipe: most programs look for an answer in the end alone."""
    connection = connect(UPLOAD + b"\r\n" + MP4)
    left = 9_000_000 - len(MP4)
    connection.sendall(b"x" * left)
    assert answered(connection)[0] == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_json_over_the_limit_is_refused(server: WebServer, chunked: bool) -> None:
    body = b'{"upload_id": "a", "clips": ["0-1"]}' + b" " * 1_100_000
    content = iter([body[:500_000], body[500_000:]]) if chunked else body
    kind = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.url}/api/jobs", content=content, headers=kind)
    assert answer.status_code == 413
    assert "1000000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 400_000,
        b'{"a":' * 150_000,
        b'{"upload_id": ' + b"9" * 5_000 + b"}",
        b'{"upload_id": "\xff"}',
        b'{"upload_id": "a", "clips": ["0-1 \\u0000"]}',
        b'{"upload_id": "a", "upload_id": "b", "clips": ["0-1"]}',
        '{"upload_id": "a"}'.encode("utf-16"),
        b"",
    ],
    ids=["lists", "objects", "digits", "UTF-8", "NUL", "twice", "UTF-16", "nothing"],
)
def test_json_that_is_none_of_ours_is_a_bad_request(server: WebServer, body: bytes) -> None:
    kind = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.url}/api/jobs", content=body, headers=kind)
    assert (answer.status_code, len(answer.text) < 300) == (400, True)
    assert "Traceback" not in server.process.log


def test_an_answer_repeats_little_of_what_was_wrong(server: WebServer) -> None:
    fields = {f"{number}{'x' * 500}": 1 for number in range(1_000)}
    answer = httpx.post(f"{server.url}/api/jobs", json=fields)
    assert answer.status_code == 422
    assert len(answer.content) < 10_000


def test_the_orphan_of_a_killed_server_leaves_its_port(tmp_path: Path) -> None:
    """Also while a client holds a thread of it."""
    with suppress(AssertionError), web_server(tmp_path) as doomed:  # it doesn't end by SIGTERM
        address = ("127.0.0.1", urlsplit(doomed.url).port or 0)
        with socket.create_connection(address, 20) as held:
            held.sendall(UPLOAD + b"\r\n" + MP4)
            doomed.process.child.kill()

            def is_free() -> bool:
                with suppress(OSError):
                    socket.create_server(address).close()
                    return True
                return False

            wait_for(is_free, 10, "the port is free")
