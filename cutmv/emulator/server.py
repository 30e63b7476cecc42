"""The Starlette application, and the uvicorn server that runs it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cutmv.emulator import api, control, errors
from cutmv.emulator.api import CONNECTION, PREFIX, Emulator
from cutmv.emulator.buckets import Buckets, looks_at
from cutmv.emulator.ratelimit import RateLimit
from cutmv.emulator.store import Store
from cutmv.emulator.store.commit import GroupCommit

#: Seconds that running calls get to end after SIGTERM; a `hang` never ends by itself.
_SHUTDOWN_S = 1
#: Connections that may wait to be accepted.
_BACKLOG = 2048


def wall_ms() -> int:
    """Return the milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class ServerOptions:
    """The server's options: `port` 0 takes a free port; `latency_ms` is added to every call."""

    host: str
    port: int
    db: Path
    latency_ms: int
    rate_limit: bool
    api_token: str
    account_id: str
    read_only_token: str = ""
    #: The S3 server that stands for R2; without one there are no event notifications.
    s3_url: str = ""


def make_app(options: ServerOptions, now_ms: Callable[[], int] = wall_ms) -> Starlette:
    """Return the whole emulator as one ASGI application, which closes its store at shutdown."""
    store = Store(options.db, now_ms)
    emulator = Emulator(
        account_id=options.account_id,
        api_token=options.api_token,
        read_only_token=options.read_only_token,
        latency_ms=options.latency_ms,
        commits=GroupCommit(store),
        rate_limit=RateLimit(now_ms) if options.rate_limit else None,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(store.close)
            if options.s3_url:
                look = looks_at(options.s3_url, os.environ)
                buckets = Buckets(emulator.commits, look, options.account_id, now_ms)
                watching = asyncio.create_task(buckets.watch())
                stack.callback(watching.cancel)
            yield

    return Starlette(
        routes=[*api.routes(emulator), *control.routes(emulator)],
        exception_handlers={404: _not_found},
        lifespan=lifespan,
    )


def serve(options: ServerOptions, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; call `announce` with the base URL once it listens.

    Error: OSError when the address can't be listened on.
    """
    with socket.create_server((options.host, options.port), backlog=_BACKLOG) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            make_app(options),
            loop="uvloop",
            http=_Protocol,
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        announce(f"http://{options.host}:{port}{PREFIX}")
        uvicorn.Server(config).run(sockets=[listener])


async def _not_found(request: Request, _: Exception) -> Response:
    return api.failure(errors.no_route(request.url.path))


class _Protocol(HttpToolsProtocol):
    """Puts the connection's transport into the scope, so that a fault can end the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"transport": self.transport}}
