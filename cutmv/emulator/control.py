"""The emulator's own routes, under `/_emulator`: faults, statistics, and a clean start.

They need no token, and are neither counted, delayed nor made to fail.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cutmv.emulator.api import Emulator
from cutmv.emulator.beliefs import Beliefs, parse_beliefs
from cutmv.emulator.faults import parse_rule
from cutmv.emulator.model import NewMessage
from cutmv.emulator.operations import ROUTE_NAMES
from cutmv.emulator.store import Store


def routes(emulator: Emulator) -> list[Route]:
    """Return Starlette's routes of the control API."""
    control = _Control(emulator)
    return [
        Route("/_emulator/faults", control.show_faults, methods=["GET"]),
        Route("/_emulator/faults", control.set_faults, methods=["PUT"]),
        Route("/_emulator/faults", control.clear_faults, methods=["DELETE"]),
        Route("/_emulator/beliefs", control.show_beliefs, methods=["GET"]),
        Route("/_emulator/beliefs", control.set_beliefs, methods=["PUT"]),
        Route("/_emulator/stats", control.stats, methods=["GET"]),
        Route("/_emulator/produce", control.produce, methods=["POST"]),
        Route("/_emulator/reset", control.reset, methods=["POST"]),
    ]


#: The content types that a pull consumer can read; only a Worker can read `v8`.
_CONTENT_TYPES = ("text", "json", "bytes")


class _Control:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def show_faults(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse([rule.as_json() for rule in self._emulator.faults.rules])

    async def set_faults(self, request: Request) -> Response:
        """Replace the rules in force by a list of rules; a 400 says what does not fit."""
        try:
            documents = json.loads(await request.body())
            if not isinstance(documents, list):
                raise ValueError("want a list of rules")
            rules = [parse_rule(each, ROUTE_NAMES) for each in documents]
        except ValueError as error:
            return _refused(str(error))
        self._emulator.faults.set(rules)
        return await self.show_faults(request)

    async def clear_faults(self, request: Request) -> Response:
        self._emulator.faults.set([])
        return await self.show_faults(request)

    async def show_beliefs(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse(self._emulator.switches.now.as_json())

    async def set_beliefs(self, request: Request) -> Response:
        """Put the named switches in force, the rest by default; a 400 says what does not fit."""
        try:
            beliefs = parse_beliefs(json.loads(await request.body()))
        except ValueError as error:
            return _refused(str(error))
        self._emulator.switches.set(beliefs)
        return await self.show_beliefs(request)

    async def stats(self, request: Request) -> Response:  # noqa: ARG002
        run = self._emulator.commits.run
        messages = await run(lambda store: store.messages.backlogs())
        leases = await run(lambda store: store.messages.leases())
        shown = {"leases_outstanding": leases, "messages": messages}
        return JSONResponse(self._emulator.stats.as_json() | shown)

    async def produce(self, request: Request) -> Response:
        """Put a message into a queue as a Worker's producer binding would, `bytes` too.

        The body is the message; the query names the `queue`, and its `content_type`.
        """
        name = request.query_params.get("queue", "")
        content_type = request.query_params.get("content_type", "bytes")
        if content_type not in _CONTENT_TYPES:
            return _refused(f"content_type is none of {', '.join(_CONTENT_TYPES)}")
        message = NewMessage(await request.body(), content_type, delay=None)

        def push(store: Store) -> bool:
            found = store.registry.queues(limit=1, offset=0, names=[name])
            for queue in found:
                store.messages.push(queue.queue_id, [message])
            return bool(found)

        if not await self._emulator.commits.run(push):
            return _refused(f"there is no queue {name!r}")
        self._emulator.stats.pushed([message])
        return Response(status_code=204)

    async def reset(self, request: Request) -> Response:  # noqa: ARG002
        """Forget queues, messages, faults, switches, statistics and the calls counted so far."""
        await self._emulator.commits.run(lambda store: store.reset())
        self._emulator.faults.set([])
        self._emulator.switches.set(Beliefs())
        self._emulator.stats.reset()
        if self._emulator.rate_limit:
            self._emulator.rate_limit.reset()
        return Response(status_code=204)


def _refused(why: str) -> Response:
    return JSONResponse({"error": why}, 400)
