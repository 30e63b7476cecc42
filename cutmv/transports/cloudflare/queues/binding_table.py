"""Bindings of lasting queues that every process sees, each a queue whose name is a `Route`.

A queue that is bound to the direct exchange of its own name by its own name, which is what Celery
does unless told otherwise, needs no route: that it exists says as much.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from cutmv.transports.cloudflare.errors import AccessDenied, QueueMissing
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import Route, exchange_digest, queue_digest
from cutmv.transports.cloudflare.queues.directory import QueueDirectory

logger = logging.getLogger(__name__)

#: Seconds after which the list of queues is asked for again when a message has nowhere to go.
FRESH = 2.0

#: Seconds that a change of bindings, or a look for one, may take.
TIMEOUT = 5.0


class Routes:
    """The table of lasting bindings. Threads share it."""

    def __init__(self, directory: QueueDirectory, options: Options) -> None:
        self._directory = directory
        self._options = options
        self._table: dict[str, list[tuple[Route, str]]] = {}
        self._table_of: object = None  # the list it was made of
        self._told = False

    def bind(self, exchange: str, kind: str, key: str, queue: str) -> None:
        """Have a binding seen by every process.

        Where that can't be, because the token may not create queues or the pattern is too long
        for a name, it is told, and the binding is seen by those who declare it.
        """
        if _is_implied(exchange, kind, key, queue) or not self._options.fanout:
            return
        route = self._route(exchange, kind, key, queue)
        if not route.tells_all:
            self._tell(f"the pattern {key!r} is too long to be kept")
            return
        self.refresh()  # another process may have removed it since
        try:
            self._directory.mark(route.name, time.monotonic() + TIMEOUT)
        except (AccessDenied, QueueMissing) as error:
            self._tell(str(error))

    def unbind(self, exchange: str, kind: str, key: str, queue: str) -> None:
        """Remove a binding, if there is one."""
        route = self._route(exchange, kind, key, queue)
        self.refresh()
        self._directory.unmark(route.name, time.monotonic() + TIMEOUT)

    def drop(self, queue: str) -> None:
        """Remove all bindings of a queue that is deleted."""
        digest = queue_digest(self._options.queue_name_prefix, queue)
        self.refresh()
        for known in self._directory.all:
            route = Route.read(known.name)
            if route is not None and route.queue == digest:
                self._directory.unmark(known.name, time.monotonic() + TIMEOUT)

    def targets(self, exchange: str, kind: str, routing_key: str) -> Sequence[str]:
        """Return the queues that are bound for a message, as last listed."""
        found = [queue for route, queue in self._bound(exchange) if route.takes(kind, routing_key)]
        if _is_implied(exchange, kind, routing_key, routing_key) and self._directory.knows(
            exchange
        ):
            found.append(exchange)
        return found

    def refresh(self) -> None:
        """List the queues again, unless that was done a moment ago."""
        self._directory.refresh(FRESH, time.monotonic() + TIMEOUT)

    def _route(self, exchange: str, kind: str, key: str, queue: str) -> Route:
        return Route.of(self._options.queue_name_prefix, exchange, kind, key, queue)

    def _bound(self, exchange: str) -> list[tuple[Route, str]]:
        revision = self._directory.revision
        if revision is not self._table_of:
            self._table, self._table_of = self._read(), revision
        return self._table.get(exchange_digest(self._options.queue_name_prefix, exchange), [])

    def _read(self) -> dict[str, list[tuple[Route, str]]]:
        """Make the table: each route, and the queue whose digest it has."""
        queues = self._directory.all
        routes = [route for queue in queues if (route := Route.read(queue.name))]
        named = {}
        if routes:
            names = [name for queue in queues if (name := self._directory.name_of(queue))]
            prefix = self._options.queue_name_prefix
            named = {queue_digest(prefix, name): name for name in names}
        table = defaultdict(list)
        for route in routes:
            if route.queue in named:
                table[route.exchange].append((route, named[route.queue]))
        return table

    def _tell(self, why: str) -> None:
        if not self._told:
            logger.warning("cloudflare: bindings are seen by who declares them alone: %s", why)
        self._told = True


def _is_implied(exchange: str, kind: str, key: str, queue: str) -> bool:
    return kind == "direct" and exchange == key == queue
