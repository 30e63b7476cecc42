"""The other end of push mode: an HTTP server whose answers a test gives, line by line."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.edge_worker import DEADLINE_S


class Delivery:
    """One pushed batch, whose answer the test writes; it stays open until `end` or `break_off`."""

    def __init__(self, handler: BaseHTTPRequestHandler, raw: bytes) -> None:
        self._handler = handler
        self.raw = raw
        self.headers: Mapping[str, str] = {k.lower(): v for k, v in handler.headers.items()}
        self.at = time.monotonic()
        document = json.loads(raw)
        self.queue: str = document["queue"]
        self.messages: list[dict[str, Any]] = document["messages"]
        self.over = threading.Event()

    @property
    def bodies(self) -> list[str]:
        return [message["body"] for message in self.messages]

    @property
    def attempts(self) -> list[int]:
        return [message["attempts"] for message in self.messages]

    def begin(self) -> Delivery:
        """Answer 200, with lines to come."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "application/x-ndjson")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()
        return self

    def write(self, text: str) -> None:
        """Send a piece of the answer as it is."""
        data = text.encode()
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def say(self, outcome: str, *, of: int = 0, **more: Any) -> Delivery:
        """Tell the outcome of one message, by its place in the batch."""
        line = {"id": self.messages[of]["id"], "outcome": outcome, **more}
        self.write(json.dumps(line) + "\n")
        return self

    def beat(self) -> None:
        """Show that we live."""
        self.write("\n")

    def end(self) -> None:
        """End the answer as it should end."""
        self._handler.wfile.write(b"0\r\n\r\n")
        self.over.set()

    def break_off(self) -> None:
        """Cut the connection."""
        self._handler.connection.shutdown(socket.SHUT_RDWR)
        self._handler.close_connection = True
        self.over.set()

    def refuse(self, status: int, **headers: str) -> None:
        """Answer with an error."""
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.send_header("Content-Length", "0")
        self._handler.end_headers()
        self.over.set()

    def ack_all(self) -> None:
        """Ack each message, and end."""
        self.begin()
        for index in range(len(self.messages)):
            self.say("ack", of=index)
        self.end()


class Ingress:
    """Takes what is pushed, for a test to take it from there; each queue by itself."""

    def __init__(self, port: int = 0) -> None:
        ingress = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # each line is on its way at once

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                delivery = Delivery(self, raw)
                assert self.path == "/v1/deliveries"
                ingress._inboxes[delivery.queue].put(delivery)
                delivery.over.wait(DEADLINE_S)

            def log_message(self, *args: object) -> None:
                pass

        self._inboxes: defaultdict[str, queue.Queue[Delivery]] = defaultdict(queue.Queue)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def next(self, name: str, deadline_s: float = DEADLINE_S) -> Delivery:
        """The next batch of a queue."""
        return self._inboxes[name].get(timeout=deadline_s)

    def close(self) -> None:
        """Stop taking connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
