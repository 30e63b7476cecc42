"""A real S3 server for any test that wants R2, and a way to cut the line to it."""

from __future__ import annotations

import selectors
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import httpx
import pytest

from tests.support.processes import Process, clean_env, free_port, wait_for

BUCKET = "cutmv-storage"
KEY_ID = "key"
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server that has the bucket."""
    port = free_port()
    # By a name, as R2 has one: a static FFmpeg can't look names up.
    url = f"http://localhost:{port}"
    log = tmp_path_factory.mktemp("s3") / "moto.log"
    script = str(Path(sys.executable).with_name("moto_server"))
    server = Process([sys.executable, script, "-H", "127.0.0.1", "-p", str(port)], clean_env(), log)
    try:
        wait_for(lambda: _answers(url), what="the S3 server answers")
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code < 500
    except httpx.HTTPError:
        return False


class Line:
    """A TCP line to a server that can be cut, and mended, at the same address.

    The server is at a port of this machine, which a URL may end with, or at a Unix socket.
    """

    def __init__(self, target: str | int | Path) -> None:
        if isinstance(target, str):
            target = int(target.rsplit(":", 1)[1])
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._whole = threading.Event()
        self._whole.set()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and each new one at once."""
        self._whole.clear()
        for connection in list(self._open):
            _end(connection)

    def mend(self) -> None:
        """Let connections through again."""
        self._whole.set()

    def close(self) -> None:
        """End it for good."""
        self.cut()
        self._listener.close()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self._target))
        return far

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        if not self._whole.is_set():
            near.close()
            return
        try:
            far = self._connect()
        except OSError:
            near.close()
            return
        ends = {near: far, far: near}
        self._open |= {near, far}
        with selectors.DefaultSelector() as selector, near, far:
            for end in ends:
                selector.register(end, selectors.EVENT_READ)
            try:
                while True:
                    for key, _ in selector.select():
                        end = key.fileobj
                        assert isinstance(end, socket.socket)
                        if not (data := end.recv(65_536)):
                            return
                        ends[end].sendall(data)
            except OSError:
                return
            finally:
                self._open -= {near, far}
                _end(near)
                _end(far)


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def s3_line(s3_url: str) -> Iterator[Line]:
    """A line to the S3 server; `url` is an endpoint."""
    line = Line(s3_url)
    yield line
    line.close()


class WatchedS3(ThreadingHTTPServer):
    """Passes GETs on to an S3 server, and notes which bytes of objects it gave.

    `drops` answers end after `drop_after` bytes of theirs. `before` is called with the number of
    each request.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Watch)
        self.target, self.http = target, httpx.Client()
        self.client = boto3.client(
            "s3",
            endpoint_url=target,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        #: Of each answer its first byte of the object, and how many were sent.
        self.given: list[tuple[int, int]] = []
        self.drops, self.drop_after = 0, 0
        self.before: Callable[[int], None] = lambda _: None

    def put(self, key: str, path: Path) -> str:
        """Keep a file as an object; return a URL that is signed, by a name."""
        self.client.upload_file(str(path), BUCKET, key)
        signed = self.client.generate_presigned_url(
            "get_object", Params={"Bucket": BUCKET, "Key": key}
        )
        return signed.replace(self.target, f"http://localhost:{self.server_port}")

    @property
    def fetched(self) -> int:
        """Bytes that were given, each as often as it was."""
        return sum(count for _, count in self.given)

    @property
    def distinct(self) -> int:
        """Bytes that were given, each once."""
        total, past = 0, 0
        for first, count in sorted(self.given):
            total += max(0, first + count - max(first, past))
            past = max(past, first + count)
        return total


class _Watch(BaseHTTPRequestHandler):
    server: WatchedS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        server = self.server
        server.before(len(server.given))
        names = ("Range", "If-Match")
        asked = {name: self.headers[name] for name in names if name in self.headers}
        answer = server.http.get(server.target + self.path, headers=asked)
        data = answer.content
        self.send_response(answer.status_code)
        for name in ("Content-Range", "ETag"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if server.drops > 0 and len(data) > server.drop_after:
            server.drops -= 1
            data = data[: server.drop_after]
            self.close_connection = True
        if answer.status_code == httpx.codes.PARTIAL_CONTENT:
            first = int(answer.headers["Content-Range"].split()[1].split("-")[0])
            server.given.append((first, len(data)))
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def watched_s3(s3_url: str) -> Iterator[WatchedS3]:
    """The S3 server, watched."""
    server = WatchedS3(s3_url)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
