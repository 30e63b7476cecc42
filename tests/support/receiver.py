"""A receiver of webhooks, which checks each request by the library of Standard Webhooks."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Received:
    """A request: its id, its event where a secret was known, and its headers in lower case."""

    id: str
    event: Any
    headers: dict[str, str]


@dataclass
class Receiver:
    """What a server was sent. `statuses` are those of its next answers, then 204."""

    url: str
    secret: str | None = None
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    #: Requests are answered while it is set.
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.received]

    @property
    def types(self) -> list[str]:
        return [each.event["type"] for each in self.received]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        here = self.server.receiver
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        event = Webhook(here.secret).verify(body, headers) if here.secret else None
        here.received.append(Received(headers.get("webhook-id", ""), event, headers))
        here.answers.wait(60.0)
        self.send_response(here.statuses.pop(0) if here.statuses else 204)
        for name, value in here.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


@contextmanager
def receiver(
    secret: str | None = None, *, port: int = 0, certificate: Path | None = None
) -> Iterator[Receiver]:
    """Run one until the end of the block; with a certificate, it speaks TLS."""
    with _Server(("127.0.0.1", port), _Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook", secret)
        server.receiver.answers.set()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.receiver
        server.receiver.answers.set()
        server.shutdown()
