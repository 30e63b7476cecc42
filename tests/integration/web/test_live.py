"""Live progress over real WebSockets of a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import simple_websocket

from cutmv.progress import WEBHOOK
from cutmv.transports.cloudflare.edge.signature import sign
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WEBHOOK_SECRET, WebServer, web_server
from tests.support.websocket import Client

FINAL = ("done", "failed", "cancelled")
#: Seconds for one message of a running job.
MESSAGE_S = 60.0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=4.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(scope="module")
def upload_id(server: WebServer, video: Path) -> str:
    answer = httpx.post(f"{server.url}/api/uploads", content=video.read_bytes(), timeout=60.0)
    return str(answer.json()["id"])


@pytest.fixture
def long_job(server: WebServer, upload_id: str) -> Iterator[str]:
    """A job that runs for longer than a test does."""
    job = submit(server, upload_id, ["0-4"] * 40)
    yield job
    httpx.post(f"{server.url}/api/jobs/{job}/cancel", timeout=30.0)


@pytest.fixture
def quiet_job(server: WebServer, upload_id: str, long_job: str) -> Iterator[str]:
    """A job of which nothing is heard, since it waits behind another."""
    job = submit(server, upload_id, ["0-4"])
    yield job
    httpx.post(f"{server.url}/api/jobs/{job}/cancel", timeout=30.0)


def submit(server: WebServer, upload_id: str, clips: list[str]) -> str:
    wanted = {"upload_id": upload_id, "clips": clips, "aspects": ["9:16"]}
    return str(httpx.post(f"{server.url}/api/jobs", json=wanted, timeout=60.0).json()["id"])


def connect(server: WebServer, job_id: str, **headers: str) -> Client:
    address = f"{server.url.replace('http', 'ws')}/ws/jobs/{job_id}"
    return Client(address, headers=headers)


def messages(client: Client) -> Iterator[dict[str, Any]]:
    """The messages to the end of the socket."""
    try:
        while True:
            text = client.receive(timeout=MESSAGE_S)
            assert text is not None, "the socket fell silent"
            yield json.loads(text)
    except simple_websocket.ConnectionClosed as closed:
        assert closed.reason == 1000


def watchers(server: WebServer) -> float:
    line = next(
        line
        for line in httpx.get(f"{server.url}/metrics").text.splitlines()
        if line.startswith("cutmv_websocket_clients")
    )
    return float(line.split()[1])


def test_a_watcher_sees_a_snapshot_then_progress_then_the_end(
    server: WebServer, upload_id: str
) -> None:
    job_id = submit(server, upload_id, ["0-3", "0-2"])

    seen = list(messages(connect(server, job_id)))

    assert seen[0]["type"] == "snapshot"
    assert seen[-1]["type"] == "snapshot"
    assert seen[-1]["job"]["state"] == "done", seen[-1]["job"]["error"]
    progress = [message for message in seen if message["type"] == "progress"]
    assert progress
    assert {message["job_id"] for message in progress} == {job_id}
    for step_id in {message["step_id"] for message in progress}:
        percents = [round(m["percent"], 1) for m in progress if m["step_id"] == step_id]
        assert percents == sorted(percents)
    assert [m["job"]["state"] in FINAL for m in seen if m["type"] == "snapshot"].count(True) == 1


def test_a_watcher_who_comes_after_the_end_gets_the_last_snapshot(
    server: WebServer, upload_id: str
) -> None:
    job_id = submit(server, upload_id, ["0-0.2"])
    assert list(messages(connect(server, job_id)))

    late = list(messages(connect(server, job_id)))

    assert [message["type"] for message in late] == ["snapshot"]
    assert late[0]["job"]["state"] == "done"


def test_all_watchers_of_a_job_see_its_cancellation(server: WebServer, long_job: str) -> None:
    clients = [connect(server, long_job) for _ in range(5)]
    streams = [messages(client) for client in clients]
    assert [next(stream)["type"] for stream in streams] == ["snapshot"] * 5

    httpx.post(f"{server.url}/api/jobs/{long_job}/cancel", timeout=30.0)

    assert [list(stream)[-1]["job"]["state"] for stream in streams] == ["cancelled"] * 5


@pytest.mark.parametrize("polite", [True, False], ids=["closed", "broken"])
def test_a_watcher_who_leaves_is_forgotten(server: WebServer, quiet_job: str, polite: bool) -> None:
    client = connect(server, quiet_job)
    port = client.sock.getsockname()[1]
    wait_for(lambda: watchers(server) == 1, 10.0, "the watcher is counted")
    assert port in clients_of(server)

    if polite:
        client.close()
    else:
        client.sock.shutdown(socket.SHUT_RDWR)

    wait_for(lambda: watchers(server) == 0, 5.0, "the watcher is forgotten")
    wait_for(lambda: port not in clients_of(server), 5.0, "its connection is closed")


def clients_of(server: WebServer) -> set[int]:
    """The ports of the clients whose connections the server has open."""
    worker = psutil.Process(server.process.child.pid).children()[0]
    return {each.raddr.port for each in worker.net_connections("tcp") if each.raddr}


def test_progress_by_webhook_reaches_the_watchers(server: WebServer, quiet_job: str) -> None:
    stream = messages(connect(server, quiet_job))
    step_id = next(stream)["job"]["steps"][0]["id"]
    event = {"uuid": step_id, "job_id": quiet_job, "stage": "cutting", "percent": 42.0}
    body = json.dumps({"events": [event]}).encode()
    now = int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(WEBHOOK_SECRET, WEBHOOK, "msg_1", now, body),
    }

    assert httpx.post(f"{server.url}/api/queue-progress", content=body, headers=headers).is_success

    told = next(message for message in stream if message["type"] == "progress")
    assert (told["step_id"], told["percent"], told["stage"]) == (step_id, 42.0, "cutting")


def test_an_unknown_job_is_refused_before_the_socket_opens(server: WebServer) -> None:
    assert status_of_handshake(server, "/ws/jobs/unknown") == 404


def test_pages_of_other_sites_can_not_watch(server: WebServer, long_job: str) -> None:
    path = f"/ws/jobs/{long_job}"

    assert status_of_handshake(server, path, Origin="https://evil.example") == 403
    assert status_of_handshake(server, path, Origin=server.url) == 101


def status_of_handshake(server: WebServer, path: str, **headers: str) -> int:
    address = urlsplit(server.url)
    lines = {
        "Host": address.netloc,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM], pytest.param([signal.SIGINT, signal.SIGINT], marks=pytest.mark.slow)],
)
def test_a_server_told_to_stop_sends_its_watchers_away(
    tmp_path: Path, video: Path, signals: list[signal.Signals]
) -> None:
    with web_server(tmp_path) as server:
        answer = httpx.post(f"{server.url}/api/uploads", content=video.read_bytes(), timeout=60.0)
        job_id = submit(server, answer.json()["id"], ["0-4"] * 40)
        client = connect(server, job_id)
        assert json.loads(client.receive(timeout=MESSAGE_S))["type"] == "snapshot"

        # A terminal's interrupt comes to all processes, and gunicorn's parent passes it on.
        for number in signals:
            os.killpg(server.process.child.pid, number)
        assert server.process.child.wait(10.0) == 0

    with pytest.raises(simple_websocket.ConnectionClosed) as closed:
        while client.receive(timeout=MESSAGE_S):
            pass
    assert closed.value.reason == 1001
    assert "Traceback" not in server.process.log
    assert "SIGKILL" not in server.process.log
