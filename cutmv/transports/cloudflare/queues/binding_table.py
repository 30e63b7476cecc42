"""The bindings of durable queues that every process sees: each is a binding queue.

A queue that is bound to the direct exchange of its own name by its own name needs no binding queue:
Celery binds so by default, and the existence of the queue implies the binding.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict

from cutmv.transports.cloudflare.errors import AccessDenied, QueueMissing
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues.bindings import (
    Binding,
    DurableBinding,
    exchange_digest,
    queue_digest,
)
from cutmv.transports.cloudflare.queues.directory import QueueDirectory

logger = logging.getLogger(__name__)

#: Seconds for which a list of queues is believed when it has no queue for a message.
LIST_BELIEVED = 2.0

#: Seconds that a change of bindings, or a new list of them, may take.
CHANGE_TIMEOUT = 5.0


class BindingTable:
    """The bindings of durable queues. Threads share it."""

    def __init__(self, directory: QueueDirectory, options: Options) -> None:
        self._directory = directory
        self._options = options
        self._table: dict[str, list[tuple[DurableBinding, str]]] = {}
        self._table_of: object = None  # the revision of the directory that it was made from
        self._warned = False

    def bind(self, binding: Binding) -> bool:
        """Make a binding visible to every process; return whether it is.

        That is not possible where the token may not create queues, or the pattern is too long for
        a name: then a warning is logged once, and only processes that declare the binding know it.
        """
        if _is_implied(binding):
            return True
        if not self._options.fanout:
            return False
        marker = self._marker(binding)
        if not marker.tells_all:
            self._warn(f"the pattern {binding.key!r} is too long to be kept")
            return False
        self.refresh()  # another process may have removed it since
        try:
            self._directory.add_marker(marker.name, time.monotonic() + CHANGE_TIMEOUT)
        except (AccessDenied, QueueMissing) as error:
            self._warn(str(error))
            return False
        return True

    def unbind(self, binding: Binding) -> None:
        """Remove a binding, if there is one."""
        marker = self._marker(binding)
        self.refresh()
        self._directory.remove_marker(marker.name, time.monotonic() + CHANGE_TIMEOUT)

    def drop(self, queue: str) -> None:
        """Remove all bindings of a queue that is deleted."""
        digest = queue_digest(self._options.queue_name_prefix, queue)
        self.refresh()
        self._remove([marker for marker in self._markers() if marker.queue == digest])

    def drop_exchange(self, exchange: str) -> None:
        """Remove all bindings to an exchange that is deleted."""
        self.refresh()
        self._remove(self.markers(exchange))

    def markers(self, exchange: str) -> list[DurableBinding]:
        """Return the bindings to an exchange, by the last list of queues."""
        digest = exchange_digest(self._options.queue_name_prefix, exchange)
        return [marker for marker in self._markers() if marker.exchange == digest]

    def exchange_type(self, exchange: str) -> str | None:
        """Return the type of an exchange, if a binding to it was there when last listed."""
        digest = exchange_digest(self._options.queue_name_prefix, exchange)
        bound = [marker for marker, _ in self._bound(exchange)]
        return next(
            (each.type for each in [*bound, *self._directory.temporary_bindings(digest)]), None
        )

    def queues(self, exchange: str, exchange_type: str, routing_key: str) -> list[str]:
        """Return the durable queues that a message goes to, by the last list of queues."""
        found = [queue for marker, queue in self._bound(exchange) if marker.takes(routing_key)]
        itself = Binding(exchange, exchange_type, routing_key, routing_key)
        if _is_implied(itself) and self._directory.knows(exchange):
            found.append(exchange)
        return found

    def rows(self, exchange: str, exchange_type: str) -> list[tuple[str, str]]:
        """Return the durable queues bound to an exchange, each with its key, by the last list."""
        rows = [(queue, marker.routing_key) for marker, queue in self._bound(exchange)]
        if exchange_type == "direct" and self._directory.knows(exchange):
            rows.append((exchange, exchange))
        return rows

    def refresh(self) -> None:
        """List the queues again, unless they were listed in the last `LIST_BELIEVED` seconds."""
        self._directory.refresh(LIST_BELIEVED, time.monotonic() + CHANGE_TIMEOUT)

    def _markers(self) -> list[DurableBinding]:
        read = [DurableBinding.read(known.name) for known in self._directory.all]
        return [marker for marker in read if marker is not None]

    def _remove(self, markers: list[DurableBinding]) -> None:
        for marker in markers:
            self._directory.remove_marker(marker.name, time.monotonic() + CHANGE_TIMEOUT)

    def _marker(self, binding: Binding) -> DurableBinding:
        return DurableBinding.of(self._options.queue_name_prefix, binding)

    def _bound(self, exchange: str) -> list[tuple[DurableBinding, str]]:
        revision = self._directory.revision
        if revision is not self._table_of:
            self._table, self._table_of = self._read(), revision
        return self._table.get(exchange_digest(self._options.queue_name_prefix, exchange), [])

    def _read(self) -> dict[str, list[tuple[DurableBinding, str]]]:
        """Return the table, by exchange: each binding, and the queue whose digest it has."""
        markers = self._markers()
        named = {}
        if markers:
            queues = self._directory.all
            names = [name for queue in queues if (name := self._directory.name_of(queue))]
            prefix = self._options.queue_name_prefix
            named = {queue_digest(prefix, name): name for name in names}
        table = defaultdict(list)
        for marker in markers:
            if marker.queue in named:
                table[marker.exchange].append((marker, named[marker.queue]))
        return table

    def _warn(self, why: str) -> None:
        if not self._warned:
            logger.warning("cloudflare: bindings are seen by who declares them alone: %s", why)
        self._warned = True


def _is_implied(binding: Binding) -> bool:
    return binding.type == "direct" and binding.exchange == binding.key == binding.queue
