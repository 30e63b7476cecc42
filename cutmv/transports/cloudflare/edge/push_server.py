"""The push server: takes the messages that the edge Worker sends to this process over HTTP.

The Worker POSTs a signed batch and waits (docs/edge.md). The response is a stream: a line for each
message when its task has ended, acked or to be tried again, and empty lines meanwhile, which show
that this process is alive. A message for which the prefetch limit leaves no room is *busy*, and
delivered again later. Cloudflare gives a pushed message no lease: where the connection breaks, it
delivers the message again, so the consumer extends it in the ledger at once, and a copy that comes
to this process gets the outcome of the running task.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
import os
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kombu.exceptions import OperationalError

from cutmv.transports.cloudflare.edge import signature
from cutmv.transports.cloudflare.errors import ConfigurationError, extra_missing
from cutmv.transports.cloudflare.runtime import BackgroundThread

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

logger = logging.getLogger(__name__)

#: Seconds between two empty lines; after four times as long without a line the Worker gives up.
HEARTBEAT = 10.0

#: Bytes of a batch at most: 256 KB of messages, most of whose characters are escaped.
MAX_BODY = 2_000_000

#: Seconds until the Worker tries again where the queue has no consumer (yet), as a header's text.
RETRY_WITHOUT_CONSUMER = "2"

#: Seconds that the server's thread has to end, after the time that its connections have.
THREAD_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the delivery of a message ended: ``ack``, ``retry`` after a delay (s), or ``busy``."""

    outcome: Literal["ack", "retry", "busy"]
    delay_seconds: int | None = None

    def line(self, message_id: str) -> bytes:
        """Return the line of the response that says so."""
        told: dict[str, Any] = {"id": message_id, "outcome": self.outcome}
        if self.delay_seconds is not None:
            told["delay_seconds"] = self.delay_seconds
        return json.dumps(told).encode() + b"\n"


#: Takes one message's outcome for the connection that waits for it; it never blocks.
DeliveryCallback = Callable[[Outcome], None]

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class PushHandler(Protocol):
    """Takes the messages of a push server: a push consumer."""

    def take(
        self, queue_name: str, given: Sequence[tuple[dict[str, Any], DeliveryCallback]]
    ) -> None:
        """Take messages of a queue, each with its delivery callback; may block."""

    def broken(self, message_ids: set[str]) -> None:
        """Note that the connection which waited for these messages has broken."""


class PushServer:
    """The HTTP server of a process. It starts with the first consumer, and ends with `close`."""

    def __init__(self, keys: str, host: str, port: int) -> None:
        self._keys, self._host, self._port = keys, host, port
        self._seen = signature.SeenIds()
        self._lock = threading.Lock()
        self._handlers: dict[str, PushHandler] = {}
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._thread = BackgroundThread("push-server", self._serve)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port on which it listens; for port 0, the chosen port once it listens."""
        if self._socket is None:
            return self._host, self._port
        host, port = self._socket.getsockname()[:2]
        return host, port

    def attach(self, queue_name: str, handler: PushHandler) -> None:
        """Give the messages of a queue to `handler`, and start the server if it does not run yet.

        Raises `OperationalError` where the address is taken, and `ConfigurationError` where a
        package or the keys are missing.
        """
        with self._lock:
            if not self._thread.started:
                self._listen()
                self._thread.start()
                logger.info("cloudflare: the push server listens on %s:%d", *self.address)
            self._handlers[queue_name] = handler

    def detach(self, queue_name: str) -> None:
        """Take no more messages of a queue; the Worker is told to try again later."""
        with self._lock:
            self._handlers.pop(queue_name, None)

    def close(self, timeout: float) -> None:
        """End each connection when its tasks have ended, or after `timeout` seconds."""
        if not self._thread.started:
            return
        self._thread.stopping.set()
        self._server.config.timeout_graceful_shutdown = math.ceil(timeout)
        self._server.should_exit = True
        self._thread.close(timeout + THREAD_TIMEOUT)
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        if self._thread.stopping.is_set():
            return
        if self._socket is None or self._socket.fileno() < 0:  # the server closed it at an error
            self._listen()
        self._server.run([self._socket])
        if not self._thread.stopping.is_set():
            raise RuntimeError("the push server ended unasked")

    def _listen(self) -> None:
        try:
            import uvicorn
        except ImportError:
            raise extra_missing("push mode", "push") from None
        if not self._keys:
            raise ConfigurationError(
                "cloudflare transport: push mode needs the option edge_keys (or "
                "CLOUDFLARE_EDGE_KEYS): the Worker's EDGE_KEYS, with which it signs"
            )
        try:
            self._socket = socket.create_server((self._host, self._port))
        except OSError as error:
            raise OperationalError(
                f"cloudflare: the push server can't listen on {self._host}:{self._port} "
                f"({error.strerror}): give each worker of a machine its own ingress_port"
            ) from None
        _sockets.add(self._socket)
        config = uvicorn.Config(
            _application(self),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
        )
        self._server = uvicorn.Server(config)

    async def deliveries(self, request: Request) -> Response:
        """``POST /v1/deliveries``: take a batch, and return a stream of its messages' outcomes."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import StreamingResponse

        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return _problem(413, f"The batch is larger than {MAX_BODY} bytes.")
        try:
            signature.verify(self._keys, request.headers, body, seen=self._seen)
            queue_name, messages = _read(body)
        except signature.Rejected as error:
            return _problem(error.status, str(error))
        except ValueError as error:
            return _problem(400, str(error))
        handler = self._handlers.get(queue_name)
        if handler is None:
            return _problem(
                503,
                f"Nobody consumes {queue_name!r} here.",
                {"retry-after": RETRY_WITHOUT_CONSUMER},
            )
        connection = _Connection(asyncio.get_running_loop())
        given = [(message, connection.callback(message["id"])) for message in messages]
        await run_in_threadpool(handler.take, queue_name, given)
        lines = connection.lines({message["id"] for message in messages}, handler.broken)
        return StreamingResponse(lines, media_type="application/x-ndjson")


class _Connection:
    """One response that is being written: any thread adds outcomes, which go out as lines."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outcomes: list[tuple[str, Outcome]] = []
        self._changed = asyncio.Event()

    def callback(self, message_id: str) -> DeliveryCallback:
        """Return the delivery callback of a message."""

        def take(outcome: Outcome) -> None:
            self._outcomes.append((message_id, outcome))
            with suppress(RuntimeError):  # the loop is closed, and so is the connection
                self._loop.call_soon_threadsafe(self._changed.set)

        return take

    async def lines(
        self, waiting: set[str], broken: Callable[[set[str]], None]
    ) -> AsyncIterator[bytes]:
        """Yield the response's lines; call `broken` with the ids if the connection breaks."""
        ids = waiting.copy()
        try:
            while waiting:
                try:
                    await asyncio.wait_for(self._changed.wait(), HEARTBEAT)
                except TimeoutError:
                    yield b"\n"
                    continue
                self._changed.clear()
                ended, self._outcomes = self._outcomes, []
                waiting -= {message_id for message_id, _ in ended}
                yield b"".join(outcome.line(message_id) for message_id, outcome in ended)
        except BaseException:
            broken(ids)
            raise


def _application(server: PushServer) -> Starlette:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"ok": True})

    async def failed(_request: Request, error: Exception) -> Response:
        return _problem(getattr(error, "status_code", 500), str(getattr(error, "detail", "")))

    return Starlette(
        routes=[
            Route("/v1/deliveries", server.deliveries, methods=["POST"]),
            Route("/healthz", healthz),
        ],
        exception_handlers={404: failed, 405: failed, 500: failed},
    )


def _read(body: bytes) -> tuple[str, list[dict[str, Any]]]:
    """Return the queue and the messages of the Worker's batch; raises `ValueError`."""
    try:
        document = json.loads(body)
        messages = [
            {
                "id": str(each["id"]),
                "attempts": int(each["attempts"]),
                "timestamp_ms": int(each["timestamp_ms"]),
                **_content(str(each["body"]), str(each.get("content_type", "text"))),
            }
            for each in document["messages"]
        ]
        return str(document["queue"]), messages
    except (ValueError, TypeError, KeyError):
        raise ValueError("The body must be a batch of messages, as in docs/edge.md.") from None


def _content(body: str, kind: str) -> dict[str, Any]:
    """Return a body and its type as a pull's response has them: JSON is in base64 there."""
    if kind == "json":
        body = base64.b64encode(body.encode(errors="replace")).decode()
    return {"body": body, "metadata": {"CF-Content-Type": kind}}


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    from http import HTTPStatus

    from starlette.responses import JSONResponse

    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return JSONResponse(
        document, status, media_type="application/problem+json", headers=headers or {}
    )


def _leave_to_parent() -> None:
    """Close a forked child's copy of the parent's listening socket: its connections would hang."""
    for listening in list(_sockets):
        listening.close()


os.register_at_fork(after_in_child=_leave_to_parent)
