"""A gate before an HTTP server that refuses some calls, as a missing permission does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

#: Gets a call's method, and its path with the query; returns the status and body to refuse it with.
Refusal = Callable[[str, str], tuple[int, str] | None]

#: Headers that belong to one connection alone.
OWN = {"connection", "content-length", "content-encoding", "transfer-encoding", "date", "server"}


class Gate:
    """Serves what is at `target`, but for what `refuses` answers itself."""

    def __init__(self, target: str, refuses: Refusal) -> None:
        parts = urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                refused = refuses(self.command, self.path)
                if refused:
                    self.answer(refused[0], {}, refused[1].encode())
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() not in OWN}
                url = f"{parts.scheme}://{parts.netloc}{self.path}"
                answer = httpx.request(self.command, url, headers=headers, content=body)
                self.answer(answer.status_code, dict(answer.headers), answer.content)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in OWN:
                        self.send_header(name, value)
                length = headers.get("content-length") if self.command == "HEAD" else None
                self.send_header("content-length", length or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}{parts.path}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._http.shutdown()
        self._http.server_close()


def object_key(method: str, path: str) -> tuple[int, str] | None:
    """What R2 refuses to a key of the kind Object Read & Write: the bucket's own settings."""
    name, _, query = path.lstrip("/").partition("?")
    of_bucket = "/" not in name.rstrip("/")
    if query.startswith(("cors", "lifecycle")) or (method == "PUT" and of_bucket):
        return 403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    return None


def fixed_retention(method: str, _path: str) -> tuple[int, str] | None:
    """What the free plan refuses: another retention than its own. The code is a guess."""
    if method == "PATCH":
        error = '{"code": 100128, "message": "Retention can not be set on the free plan"}'
        return 400, f'{{"success": false, "errors": [{error}], "result": null}}'
    return None
