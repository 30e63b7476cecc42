"""Putting messages into queues: through the edge Worker where there is one, else by the REST API.

The Worker (`edge/` in the repository, docs/edge.md) has queue bindings, which the REST API's limit
of calls does not bound. While it does not answer, or has no binding for a queue, the REST API is
asked: who publishes need not know. Either way the hub rings for those who pull the queue. A message
whose answer was lost may be there twice, as after any publish that was tried again; both have one
id.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

import httpx

from cutmv.transports.cloudflare.api.client import Client, exchange
from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.edge.hub_client import Hub
from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    NotFound,
    Refused,
    ServerFault,
)
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import stands_for_binding
from cutmv.transports.cloudflare.queues.directory import Queue

logger = logging.getLogger(__name__)

#: Seconds the Worker has to answer; the rest of a publish's time is left to the REST API.
TIMEOUT = 2.0

#: Seconds for which the REST API is used after the Worker failed, and after it knew no queue.
AWAY, UNSERVED = 5.0, 60.0

#: Connections open at once at most.
MAX_CONNECTIONS = 32


class Edge:
    """The edge Worker. Threads share it; its owner closes it."""

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
        """Put messages on a queue like `api.Client.publish`; one attempt, of `TIMEOUT` at most."""
        messages = [
            {"body": text} if delay is None else {"body": text, "delay_seconds": delay}
            for text, delay in texts
        ]
        body = json.dumps({"messages": messages}, separators=(",", ":")).encode()
        timeout = max(0.05, min(TIMEOUT, deadline - time.monotonic()))
        request = httpx.Request(
            "POST",
            f"{self.url}/v1/queues/{queue_name}/messages{self._query}",
            headers={
                "content-type": "application/json",
                "user-agent": "cutmv-transport",
                **signature.headers(self.keys, body),
            },
            content=body,
            extensions={"timeout": dict.fromkeys(("connect", "pool", "read", "write"), timeout)},
        )
        whom = f"the edge Worker at {urlsplit(self.url).hostname}"
        response = exchange(self._http, request, whom)
        if response.status_code != 200:
            raise _error(response)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()


class Sender:
    """Puts messages into queues by the better of two ways. Threads share it."""

    def __init__(self, client: Client, options: Options, hub: Hub | None) -> None:
        self._client = client
        self._hub = hub
        self._edge: Edge | None = None
        if options.edge_url:
            self._edge = Edge(options.edge_url, options.edge_keys, options.queue_name_prefix)
        self._away_until = 0.0
        self._unserved: dict[str, float] = {}  # queues the Worker has no binding for, until when

    def publish(
        self, queue: Queue, texts: Sequence[tuple[str, int | None]], deadline: float
    ) -> None:
        """Put messages on a queue; see `api.Client.publish`."""
        if self._edge is not None and self._serves(queue.name):
            try:
                self._edge.publish(queue.name, texts, deadline)
            except CloudflareError as error:
                self._note(queue.name, error)
            else:
                self._away_until = 0.0
                return
        self._client.publish(queue.queue_id, texts, deadline)
        if self._hub is not None and time.monotonic() >= self._away_until:
            self._hub.ring(queue.name)

    def close(self) -> None:
        """Close the connections to the Worker."""
        if self._edge is not None:
            self._edge.close()

    def _serves(self, queue_name: str) -> bool:
        now = time.monotonic()
        if now < self._away_until or stands_for_binding(queue_name):
            return False
        return now >= self._unserved.get(queue_name, 0.0)

    def _note(self, queue_name: str, error: CloudflareError) -> None:
        if isinstance(error, NotFound):
            if queue_name not in self._unserved:
                logger.warning("cloudflare: %s; the REST API is used", error)
            self._unserved[queue_name] = time.monotonic() + UNSERVED
            return
        if isinstance(error, Refused):
            return  # what is wrong with the messages, the REST API says
        if not self._away_until:
            logger.warning("cloudflare: %s; the REST API is used meanwhile", error)
        self._away_until = time.monotonic() + AWAY


def _error(response: httpx.Response) -> CloudflareError:
    """Turn the Worker's problem+json into the error to raise."""
    status = response.status_code
    try:
        detail = " ".join(str(json.loads(response.content)["detail"]).split())
    except (ValueError, TypeError, KeyError):
        detail = response.reason_phrase
    line = f"the edge Worker answered HTTP {status}: {detail}"
    kinds = {400: Refused, 401: AccessDenied, 404: NotFound, 413: Refused}
    return kinds.get(status, ServerFault)(line, status=status)
