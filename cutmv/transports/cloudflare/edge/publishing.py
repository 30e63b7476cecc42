"""The edge Worker's publishing call, and other calls to it.

The Worker (`edge/` in the repository, docs/edge.md) publishes by queue bindings, to which the REST
API's limit of calls does not apply.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from cutmv.transports.cloudflare.api import exchange
from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.errors import CloudflareError, ServerFault, failure_type

#: Seconds the Worker has to answer; the rest of a publish's time is left to the REST API.
PUBLISH_TIMEOUT = 2.0

#: Seconds it has for any other call.
ASK_TIMEOUT = 5.0

#: Connections open at once at most.
MAX_CONNECTIONS = 32


def to_edge(method: str, target: str) -> signature.Purpose:
    """Return the purpose of a request to the Worker, by its path with its query."""
    return signature.Purpose("edge Worker", method, target)


class EdgeClient:
    """Publishes through the edge Worker. Threads share it; its owner closes it."""

    def __init__(self, url: str, keys: str, scope: str) -> None:
        self.url = url.rstrip("/")
        self.keys = keys
        self._query = f"?{urlencode({'scope': scope})}" if scope else ""
        self._http = httpx.HTTPTransport(
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS
            )
        )

    def publish(
        self, queue_name: str, texts: Sequence[tuple[str, int | None]], deadline: float
    ) -> None:
        """Publish messages to a queue like `api.Client.publish`, in a single attempt."""
        messages = [
            {"body": text} if delay is None else {"body": text, "delay_seconds": delay}
            for text, delay in texts
        ]
        timeout = max(0.05, min(PUBLISH_TIMEOUT, deadline - time.monotonic()))
        path = f"/v1/queues/{queue_name}/messages{self._query}"
        self.send(path, _dump({"messages": messages}), timeout)

    def ask(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a signed call, in a single attempt, and return the JSON object of its answer."""
        return self.ask_of(path, _dump(document), ASK_TIMEOUT)

    def ask_of(self, path: str, body: bytes, timeout: float) -> Mapping[str, Any]:
        """Make a signed call with this body, as `ask` does, in `timeout` seconds."""
        try:
            answer = json.loads(self.send(path, body, timeout))
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ServerFault(f"the edge Worker's answer to {path} is no JSON object", status=200)
        return answer

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def send(self, path: str, body: bytes, timeout: float) -> bytes:
        """Make a signed call with this body, in a single attempt; return its answer's content."""
        request = httpx.Request(
            "POST",
            self.url + path,
            headers={
                "content-type": "application/json",
                "user-agent": "cutmv-transport",
                **signature.headers(self.keys, to_edge("POST", path), body),
            },
            content=body,
            extensions={"timeout": dict.fromkeys(("connect", "pool", "read", "write"), timeout)},
        )
        response = exchange(
            self._http, request, f"the edge Worker at {urlsplit(self.url).hostname}"
        )
        if response.status_code != 200:
            raise _error(response)
        return response.content


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _error(response: httpx.Response) -> CloudflareError:
    """Return the error to raise for the Worker's problem+json."""
    status = response.status_code
    try:
        detail, own = " ".join(str(json.loads(response.content)["detail"]).split()), True
    except (ValueError, TypeError, KeyError):
        detail, own = response.reason_phrase, False
    line = f"the edge Worker answered HTTP {status}: {detail}"
    return failure_type(status, own=own)(line, status=status)
