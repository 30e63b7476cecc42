"""Our own routes, under `/_emulator`: faults, statistics, and a clean start.

They want no token, and are neither counted, delayed nor made to fail.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cutmv.emulator.api import Emulator
from cutmv.emulator.faults import parse_rule
from cutmv.emulator.operations import ROUTE_NAMES


def routes(emulator: Emulator) -> list[Route]:
    """Starlette's routes of the control API."""
    control = _Control(emulator)
    return [
        Route("/_emulator/faults", control.show_faults, methods=["GET"]),
        Route("/_emulator/faults", control.set_faults, methods=["PUT"]),
        Route("/_emulator/faults", control.clear_faults, methods=["DELETE"]),
        Route("/_emulator/stats", control.stats, methods=["GET"]),
        Route("/_emulator/reset", control.reset, methods=["POST"]),
    ]


class _Control:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def show_faults(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse([rule.as_json() for rule in self._emulator.faults.rules])

    async def set_faults(self, request: Request) -> Response:
        """A list of rules, in place of those in force; 400 says what does not fit."""
        try:
            documents = json.loads(await request.body())
            if not isinstance(documents, list):
                raise ValueError("want a list of rules")
            rules = [parse_rule(each, ROUTE_NAMES) for each in documents]
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        self._emulator.faults.set(rules)
        return await self.show_faults(request)

    async def clear_faults(self, request: Request) -> Response:
        self._emulator.faults.set([])
        return await self.show_faults(request)

    async def stats(self, request: Request) -> Response:  # noqa: ARG002
        run = self._emulator.commits.run
        messages = await run(lambda store: store.backlogs())
        leases = await run(lambda store: store.leases())
        shown = {"leases_outstanding": leases, "messages": messages}
        return JSONResponse(self._emulator.stats.as_json() | shown)

    async def reset(self, request: Request) -> Response:  # noqa: ARG002
        """Forget queues, messages, faults, statistics and the calls counted so far."""
        await self._emulator.commits.run(lambda store: store.reset())
        self._emulator.faults.set([])
        self._emulator.stats.reset()
        if self._emulator.rate_limit:
            self._emulator.rate_limit.reset()
        return Response(status_code=204)
