"""The push server: takes the messages that the edge Worker sends to this process over HTTP.

The Worker POSTs a signed batch and waits (docs/edge.md). The response is a stream: a line for each
message when its task has ended, acked or to be tried again, and empty lines meanwhile, which show
that this process is alive. A message for which there is no room waits here, without a thread; after
`TURN` seconds the Worker is told to ask again, perhaps elsewhere. Cloudflare gives a pushed message
no lease: where the connection breaks, the Worker posts the message again, so the consumer extends
it in the ledger at once, and a copy that comes to this process gets the running task's outcome.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from kombu.exceptions import OperationalError
from kombu.utils.compat import detect_environment

from cutmv.transports.cloudflare.api import operations
from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.edge.push_connections import Connections, leave_to_parent
from cutmv.transports.cloudflare.edge.push_gate import ACTIVITY, DELIVERIES, Gate
from cutmv.transports.cloudflare.edge.push_protocol import DeliveryCallback, Outcome, PushBatch
from cutmv.transports.cloudflare.edge.signature import Rejected
from cutmv.transports.cloudflare.errors import ConfigurationError, extra_missing
from cutmv.transports.cloudflare.runtime import BackgroundThread

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

logger = logging.getLogger(__name__)

#: Seconds between two empty lines; after four times as long without a line the Worker gives up.
HEARTBEAT = 10.0

#: Seconds that a message waits here for room before the Worker asks again. It is less than a proxy
#: waits for a whole response, should one not pass on its parts, and so many turns fit into the
#: Worker's time that its requests are enough (`MAX_POSTS` in edge/src/limits.ts).
TURN = 25.0

#: Seconds until the Worker tries again where the queue has no consumer (yet), as a header's text.
RETRY_WITHOUT_CONSUMER = "2"

#: Seconds that the server's thread has to end, after the time that its connections have.
THREAD_TIMEOUT = 10.0


class PushHandler(Protocol):
    """Takes the messages of a push server: a push consumer."""

    def take(
        self,
        queue_name: str,
        given: Sequence[tuple[dict[str, Any], DeliveryCallback]],
        seconds: float,
    ) -> float:
        """Take messages of a queue, each with its delivery callback; does not block.

        The Worker waits `seconds` for their outcomes. Returns the seconds after which a message can
        wait for room no longer.
        """

    def withdraw(self, callbacks: Set[DeliveryCallback]) -> None:
        """Give back the messages of these callbacks that still wait for room."""

    def stats(self) -> dict[str, Any]:
        """Return what waits and runs, as JSON."""

    def broken(self, callbacks: Set[DeliveryCallback]) -> None:
        """Note that the connection which waited for these callbacks' outcomes has broken."""


class PushServer:
    """The HTTP server of a process. It starts with the first consumer, and ends with `close`.

    `accept` notes the id of a signed request, and tells whether it is new to all processes; it may
    raise `LedgerUnavailable`. `on_hopeless` is called with an error if the server's thread does not
    recover.
    """

    def __init__(
        self,
        keys: str,
        host: str,
        port: int,
        accept: Callable[[str], bool] = lambda _: True,
        on_hopeless: Callable[[BaseException], object] = lambda _: None,
    ) -> None:
        #: Which process this is, for a Worker that reaches several at one address, or that asks
        #: whether a container has been started anew. It outlives a connection to the broker.
        self.worker_id = _process_id(os.getpid())
        self._keys, self._host, self._port = keys, host, port
        self._gate = Gate(keys, accept)
        self._lock = threading.Lock()
        self._handlers: dict[str, PushHandler] = {}
        self._connections: Connections
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._thread = BackgroundThread("push-server", self._serve, on_hopeless=on_hopeless)

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
        package or the keys are missing, or where green threads run the process.
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

    def stats(self) -> dict[str, Any]:
        """Return what waits and runs in each queue, as JSON."""
        with self._lock:
            return {name: handler.stats() for name, handler in self._handlers.items()}

    def leave(self) -> None:
        """Take no more connections: another push server may have the address. Does not wait."""
        self._thread.stop()
        if self._thread.started:
            self._server.should_exit = True

    def close(self, timeout: float) -> None:
        """End each connection when its tasks have ended, or after `timeout` seconds."""
        self.leave()
        self._thread.join(timeout)
        if self._thread.alive:
            self._server.force_exit = True
            self._thread.join(THREAD_TIMEOUT)
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        if self._thread.stopping.is_set():
            self._close_socket()
            return
        if self._socket is None or self._socket.fileno() < 0:  # the server closed it at an error
            self._listen()
        self._server.run([self._socket])
        if not self._thread.stopping.is_set():
            raise RuntimeError("the push server ended unasked")

    def _listen(self) -> None:
        pool = detect_environment()
        if pool != "default":
            raise ConfigurationError(
                f"cloudflare transport: messages can't be pushed to the {pool} pool: use the "
                f"prefork, threads or solo pool, or set the option consume to pull"
            )
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
        leave_to_parent(self._socket)
        self._connections = Connections()
        config = uvicorn.Config(
            self._connections.told_by(_application(self)),
            http=self._connections.protocol(),
            proxy_headers=False,  # a connection is known by its own address
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
        )
        self._server = uvicorn.Server(config)

    async def activity(self, request: Request) -> Response:
        """``GET /v1/activity``: tell how many tasks the worker has, be they pushed or pulled."""
        from starlette.responses import JSONResponse

        try:
            self._gate.answer(request.headers)
        except Rejected as error:
            return _problem(error.status, str(error), error.headers)
        return JSONResponse({"tasks": celery_worker.tasks()})

    async def deliveries(self, request: Request) -> Response:
        """``POST /v1/deliveries``: take a batch, and return a stream of its messages' outcomes."""
        from starlette.responses import StreamingResponse

        try:
            batch = PushBatch.read(await self._gate.admit(request.headers, request.stream()))
        except Rejected as error:
            return _problem(error.status, str(error), error.headers)
        except ValueError as error:
            return _problem(400, str(error))
        self._connections.keep(request.client)
        if batch.worker not in (None, self.worker_id):
            return _problem(421, "Another worker may have these messages.")
        handler = self._handlers.get(batch.queue_name)
        if handler is None:
            return _problem(
                503,
                f"Nobody consumes {batch.queue_name!r} here.",
                {"retry-after": RETRY_WITHOUT_CONSUMER},
            )
        connection = _Connection(asyncio.get_running_loop(), handler, batch)
        first = json.dumps({"worker": self.worker_id, **handler.stats()}).encode() + b"\n"
        return StreamingResponse(connection.lines(first), media_type="application/x-ndjson")


class _Connection:
    """One response that is being written: any thread adds outcomes, which go out as lines."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handler: PushHandler, batch: PushBatch
    ) -> None:
        self._loop, self._handler, self._batch = loop, handler, batch
        self._outcomes: list[tuple[str, Outcome]] = []
        self._changed = asyncio.Event()

    def _callback(self, message_id: str) -> DeliveryCallback:
        def take(outcome: Outcome) -> None:
            self._outcomes.append((message_id, outcome))
            with suppress(RuntimeError):  # the loop is closed, and so is the connection
                self._loop.call_soon_threadsafe(self._changed.set)

        return take

    async def lines(self, first: bytes) -> AsyncIterator[bytes]:
        """Hand the batch over, and yield the response's lines, of which one is given."""
        given = [(each, self._callback(each["id"])) for each in self._batch.messages]
        waiting = {each["id"] for each in self._batch.messages}
        callbacks = {callback for _, callback in given}
        try:
            yield first
            operations.read(self._batch.messages)
            patience = self._handler.take(self._batch.queue_name, given, self._batch.seconds)
            turn_ends: float | None = self._loop.time() + min(TURN, patience)
            while waiting:
                left = HEARTBEAT if turn_ends is None else turn_ends - self._loop.time()
                try:
                    await asyncio.wait_for(self._changed.wait(), max(0.0, min(HEARTBEAT, left)))
                except TimeoutError:
                    if turn_ends is not None and self._loop.time() >= turn_ends:
                        self._handler.withdraw(callbacks)
                        turn_ends = None
                    yield b"\n"
                    continue
                self._changed.clear()
                ended, self._outcomes = self._outcomes, []
                waiting -= {message_id for message_id, _ in ended}
                operations.deleted(sum(outcome.outcome == "ack" for _, outcome in ended))
                yield b"".join(outcome.line(message_id) for message_id, outcome in ended)
        except BaseException:
            self._handler.broken(callbacks)
            raise


@cache
def _process_id(_pid: int) -> str:
    """Return an id of this process; a forked one has its own."""
    return uuid4().hex


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
            Route(DELIVERIES.target, server.deliveries, methods=["POST"]),
            Route(ACTIVITY.target, server.activity),
            Route("/healthz", healthz),
        ],
        exception_handlers={404: failed, 405: failed, 500: failed},
    )


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
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
