"""Push mode: the edge Worker hands messages to this process over HTTP, the moment they come.

The Worker POSTs a signed batch and waits (docs/edge.md). The answer is a stream: a line for each
message when its task has ended, acked or to be tried again, and empty lines meanwhile, which show
that somebody is there. What the consumer's prefetch has no room for is *busy*, and comes again
later. A message has no lease: where the connection breaks, Cloudflare has it delivered again, so
the ledger is told at once that it is being worked on (`Keeper.hold_on`), and a copy that comes to
this process joins the task that runs.
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
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from cutmv.transports.cloudflare import signature
from cutmv.transports.cloudflare.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from cutmv.transports.cloudflare.receiver import Receiver

logger = logging.getLogger(__name__)

#: Seconds between two signs of life; the Worker takes four times as long a silence for the end.
HEARTBEAT = 10.0

#: Bytes of a batch that are read at all: 256 KB of messages, most of whose characters are escaped.
MAX_BODY = 2_000_000

#: Seconds until the Worker tries again where there is no consumer (yet).
NOBODY = "2"

#: Seconds the server's thread has to start, and to end.
THREAD_TIMEOUT = 10.0

#: One message's outcome, as a line of the answer: without its id.
Outcome = dict[str, Any]

#: Tells an outcome to a connection; false where it is broken.
Tell = Callable[[Outcome], None]

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class Ingress:
    """The HTTP server of a process. It starts with its first receiver, and ends with `close`."""

    def __init__(self, keys: str, host: str, port: int) -> None:
        self._keys, self._host, self._port = keys, host, port
        self._seen = signature.SeenIds()
        self._lock = threading.Lock()
        self._receivers: dict[str, Receiver] = {}
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once it does; of port 0, the one that was free."""
        if self._socket is None:
            return self._host, self._port
        host, port = self._socket.getsockname()[:2]
        return host, port

    def attach(self, queue_name: str, receiver: Receiver) -> None:
        """Give what comes for a queue to `receiver`.

        Raises `OperationalError` where the address is taken, and `ConfigurationError` where a
        package or the keys are missing.
        """
        with self._lock:
            if self._thread is None:
                self._start()
            self._receivers[queue_name] = receiver

    def detach(self, queue_name: str) -> None:
        """Take nothing for a queue any more; the Worker is told to try again later."""
        with self._lock:
            self._receivers.pop(queue_name, None)

    def close(self, timeout: float) -> None:
        """End the connections, each when its tasks have ended but within `timeout` seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._server.config.timeout_graceful_shutdown = math.ceil(timeout)
        self._server.should_exit = True
        thread.join(timeout + THREAD_TIMEOUT)
        if self._socket is not None:
            self._socket.close()

    def _start(self) -> None:
        try:
            import uvicorn
        except ImportError:
            raise ConfigurationError(
                "cloudflare transport: push mode needs more packages: "
                "pip install '.[push]' in a checkout of CUTMV"
            ) from None
        if not self._keys:
            raise ConfigurationError(
                "cloudflare transport: push mode needs the option edge_keys (or "
                "CLOUDFLARE_EDGE_KEYS): the Worker's EDGE_KEYS, with which it signs"
            )
        try:
            self._socket = socket.create_server((self._host, self._port))
        except OSError as error:
            raise OperationalError(
                f"cloudflare: the ingress can't listen on {self._host}:{self._port} "
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
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name="cloudflare-ingress",
            daemon=True,
        )
        self._thread.start()
        logger.info("cloudflare: the ingress listens on %s:%d", *self.address)

    async def deliveries(self, request: Request) -> Response:
        """``POST /v1/deliveries``: take a batch, and answer as its messages end."""
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
        receiver = self._receivers.get(queue_name)
        if receiver is None:
            return _problem(503, f"Nobody consumes {queue_name!r} here.", {"retry-after": NOBODY})
        connection = _Connection(asyncio.get_running_loop())
        given = [(message, connection.teller(message["id"])) for message in messages]
        await run_in_threadpool(receiver.take, queue_name, given)
        lines = connection.lines({message["id"] for message in messages}, receiver.broken)
        return StreamingResponse(lines, media_type="application/x-ndjson")


class _Connection:
    """One answer that is being written: outcomes come from any thread, and go out as lines."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outcomes: list[Outcome] = []
        self._news = asyncio.Event()

    def teller(self, message_id: str) -> Tell:
        """Return what takes a message's outcome; it never blocks."""

        def tell(outcome: Outcome) -> None:
            self._outcomes.append({"id": message_id, **outcome})
            with suppress(RuntimeError):  # the loop is closed, and so is the connection
                self._loop.call_soon_threadsafe(self._news.set)

        return tell

    async def lines(
        self, waiting: set[str], broken: Callable[[set[str]], None]
    ) -> AsyncIterator[bytes]:
        """Yield the answer; `broken` is told what it was for, if nobody reads it to its end."""
        ids = waiting.copy()
        try:
            while waiting:
                try:
                    await asyncio.wait_for(self._news.wait(), HEARTBEAT)
                except TimeoutError:
                    yield b"\n"
                    continue
                self._news.clear()
                ended, self._outcomes = self._outcomes, []
                waiting -= {outcome["id"] for outcome in ended}
                yield b"".join(json.dumps(outcome).encode() + b"\n" for outcome in ended)
        except BaseException:
            broken(ids)
            raise


def _application(ingress: Ingress) -> Starlette:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"ok": True})

    async def failed(_request: Request, error: Exception) -> Response:
        return _problem(getattr(error, "status_code", 500), str(getattr(error, "detail", "")))

    return Starlette(
        routes=[
            Route("/v1/deliveries", ingress.deliveries, methods=["POST"]),
            Route("/healthz", healthz),
        ],
        exception_handlers={404: failed, 405: failed, 500: failed},
    )


def _read(body: bytes) -> tuple[str, list[dict[str, Any]]]:
    """Read the Worker's batch; raises `ValueError` with a line that says what is wrong."""
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
    """Return a body and its type as a pull's answer has them: JSON, too, is in base64 there."""
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
    """Close what a forked child has of its parent's ingress: connections to it would hang."""
    for listening in list(_sockets):
        listening.close()


os.register_at_fork(after_in_child=_leave_to_parent)
