"""Admits each call of the Cloudflare routes, runs its operation, and sends the response.

A call is authenticated, counted against the rate limit, given its faults, delayed, run in a
transaction by group commit, and answered in the API's JSON format.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cutmv.emulator import errors, schema
from cutmv.emulator.beliefs import Switches
from cutmv.emulator.errors import ApiError
from cutmv.emulator.faults import Faults, Rule
from cutmv.emulator.model import Json
from cutmv.emulator.operations import ROUTES, Call, Operation, Page
from cutmv.emulator.ratelimit import RateLimit
from cutmv.emulator.stats import Stats
from cutmv.emulator.store.commit import GroupCommit

#: The path of the API's routes, as under https://api.cloudflare.com.
PREFIX = "/client/v4"

#: The key of an ASGI scope's extensions under which `server` leaves the connection's transport.
CONNECTION = "cutmv.connection"

#: Responses that a proxy between the caller and Cloudflare might send.
_GARBAGE = "<html><body><h1>Checking your browser</h1></body></html>"
_MISSHAPEN = '{"success": true, "errors": {"code": "none"}, "messages": 0, "result": "as you like"}'

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Emulator:
    """The settings and services that all routes share."""

    account_id: str
    api_token: str
    #: The token that may only read; empty for none.
    read_only_token: str
    #: Milliseconds added to every call: half before the work, half after.
    latency_ms: int
    commits: GroupCommit
    #: None admits every call.
    rate_limit: RateLimit | None
    faults: Faults = field(default_factory=Faults)
    stats: Stats = field(default_factory=Stats)
    switches: Switches = field(default_factory=Switches)


def routes(emulator: Emulator) -> list[Route]:
    """Return Starlette's routes for `ROUTES`."""
    return [Route(PREFIX + path, _Endpoint(emulator, methods)) for path, methods in ROUTES.items()]


def failure(error: ApiError) -> Response:
    """Return the response to a refused call."""
    response = _envelope(
        error.status,
        success=False,
        errors=[{"code": error.code, "message": error.message}],
        result=None,
    )
    if error.retry_after is not None:
        response.headers["retry-after"] = str(error.retry_after)
    return response


def _success(result: Json | Page) -> Response:
    if isinstance(result, Page):
        return _envelope(
            200, success=True, errors=[], result=result.items, result_info=result.info()
        )
    return _envelope(200, success=True, errors=[], result=result)


def _envelope(status: int, **parts: Json) -> Response:
    content = json.dumps({"messages": [], **parts}, separators=(",", ":"))
    return Response(content, status, media_type="application/json")


@dataclass(eq=False)
class _DroppedError(Exception):
    """The call has to end without a response, because of this fault."""

    kind: str


class _Endpoint:
    """One path of the API, with all its methods, as an ASGI application."""

    def __init__(self, emulator: Emulator, methods: Mapping[str, tuple[str, Operation]]) -> None:
        self._emulator = emulator
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        emulator = self._emulator
        route, operation = self._methods.get(request.method, ("unknown", None))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            raw = await request.body()
            if scheme != "Bearer":
                raise errors.authentication_failed()
            self._admit(token, route, request)
            if operation is None:
                raise errors.no_method(request.method)
            response = await self._answer(route, operation, request, raw)
        except ApiError as error:
            response = failure(error)
        except _DroppedError as dropped:
            emulator.stats.calls[route][dropped.kind] += 1
            await _close_connection(scope, receive)
            return
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server ends, and has waited long enough for this call
            await _close_connection(scope, receive)
            return
        except Exception:
            _log.exception("%s failed", route)
            response = failure(errors.unknown_error(500))
        emulator.stats.calls[route][str(response.status_code)] += 1
        if emulator.rate_limit:
            style = emulator.switches.now.ratelimit
            response.headers.update(emulator.rate_limit.headers(token, style))
        await response(scope, receive, send)

    def _admit(self, token: str, route: str, request: Request) -> None:
        """Check the token, the rate limit and the permission. Errors: 401, 429, 403."""
        emulator = self._emulator
        reads = _same(token, emulator.read_only_token)
        if not reads and not _same(token, emulator.api_token):
            raise errors.authentication_failed()
        if emulator.rate_limit:
            try:
                emulator.rate_limit.admit(token, route)
            except ApiError:
                emulator.stats.refused += 1
                raise
        if request.path_params.get("account_id", emulator.account_id) != emulator.account_id:
            raise errors.account_forbidden()
        if reads and request.method != "GET":
            raise errors.permission_missing()

    async def _answer(
        self, route: str, operation: Operation, request: Request, raw: bytes
    ) -> Response:
        emulator = self._emulator
        verdict = emulator.faults.judge(route)
        half_s = (emulator.latency_ms + verdict.latency_ms) / 2000
        await _pause(half_s)
        if verdict.answer:
            await _fail_before(verdict.answer, request.receive)
            if verdict.answer.kind == "page":
                return Response(_GARBAGE, verdict.answer.status, media_type="text/html")
            if verdict.answer.kind == "redirect":
                return Response(status_code=302, headers={"location": "https://elsewhere.invalid"})
        call = Call(
            path=request.path_params,
            query=request.query_params,
            body=schema.parse(raw),
            verdict=verdict,
            faults=emulator.faults,
            stats=emulator.stats,
            switches=emulator.switches,
        )
        result = await emulator.commits.run(lambda store: operation(call, store))
        await _pause(half_s)
        match verdict.answer and verdict.answer.kind:
            case "drop_after":
                raise _DroppedError("drop_after")
            case "hang_after":
                await _disconnected(request.receive)
                raise _DroppedError("hang_after")
            case "garbage":
                return Response(_GARBAGE, media_type="text/html")
            case "misshapen":
                return Response(_MISSHAPEN, media_type="application/json")
            case "failed":
                return failure(replace(errors.unknown_error(500), status=200))
        return _success(result)


def _same(token: str, known: str) -> bool:
    return bool(known) and hmac.compare_digest(token.encode(), known.encode())


async def _pause(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


async def _fail_before(rule: Rule, receive: Receive) -> None:
    """Act out a fault that comes before the work; do nothing for the others."""
    match rule.kind:
        case "429":
            raise errors.overloaded(rule.retry_after)
        case "500" | "503":
            raise errors.unknown_error(int(rule.kind))
        case "refused":
            raise ApiError(rule.status, rule.code, "The call is refused.")
        case "drop_before":
            raise _DroppedError(rule.kind)
        case "hang":
            await _disconnected(receive)
            raise _DroppedError(rule.kind)


async def _close_connection(scope: Scope, receive: Receive) -> None:
    """End the connection without a response, as a lost network does."""
    scope["extensions"][CONNECTION]["transport"].abort()
    # The server would answer 500 if this returned before the server notices the end.
    await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
