"""What the result backends of a process share: calls, a connection to the hub, who is told of news.

Celery makes a backend for each thread. They all use one `Connection` to their Worker. A forked
child makes its own: threads do not survive a fork, and sockets must not be shared.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from cutmv.backends.cloudflare.calls import Calls
from cutmv.backends.cloudflare.finding import host_of
from cutmv.transports.cloudflare.edge import EdgeClient, HubClient, HubMessage
from cutmv.transports.cloudflare.queues import Binding

#: The Worker's routes of large values.
WRITE_LARGE, READ_LARGE = "/v1/results/large", "/v1/results/large/read"

#: Seconds for a large value to be sent or read.
LARGE_TIMEOUT = 60.0

#: Hubs over which clients that wait are spread: one object would be told of all results.
HUBS = 16

#: Seconds that the exit of the process waits for the hub's connection to end.
EXIT_TIMEOUT = 1.0


class Listener(Protocol):
    """Who is told of results."""

    def news(self, key: str, value: str | None) -> None:
        """Take a result's value, or learn that there is one to read; must not block."""

    def stale(self) -> None:
        """Learn that news may have been lost; must not block."""


class Connection:
    """Calls to the Worker, and a connection to one of its hubs from the first wait on."""

    def __init__(self, url: str, keys: str) -> None:
        self._edge = EdgeClient(url, keys, "")
        self.calls = Calls(self._edge.ask_of, host_of(url))
        scope = f"celery results {random.randrange(HUBS)}"
        self._hub = HubClient(
            url, keys, scope, instead="results that are waited for are read each second"
        )
        self._hub.on_message = self._take
        #: Where this process's news go: a queue of its hub client.
        self.waiter = {"scope": scope, "queue": f"results.{self._hub.client_id}"}
        self._listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._listening = False

    @property
    def told(self) -> bool:
        """Whether the hub is connected, so that news come by themselves."""
        return self._hub.connected

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of news from now on, until nobody else has it.

        Raises `ConfigurationError` where the packages for the hub are missing.
        """
        with self._lock:
            self._listeners.add(listener)
            if self._listening:
                return
        queue = self.waiter["queue"]
        self._hub.bind(Binding("", "direct", queue, queue))
        with self._lock:
            first, self._listening = not self._listening, True
        if first:
            # The hub wakes who begins to watch a queue: so each connection says that it is there.
            self._hub.watch(queue, self._connected)

    def write_large(self, key: str, payload: bytes) -> str:
        """Keep a large value, and return its object's name. Raises a `CloudflareError`."""
        path = f"{WRITE_LARGE}?{urlencode({'key': key})}"
        return str(self._edge.ask_of(path, payload, LARGE_TIMEOUT)["name"])

    def read_large(self, name: str) -> bytes:
        """Return a large value. Raises a `CloudflareError`."""
        return self._edge.send(READ_LARGE, json.dumps({"name": name}).encode(), LARGE_TIMEOUT)

    def close(self) -> None:
        """End the connections."""
        self._hub.close(EXIT_TIMEOUT)
        self._edge.close()

    def _connected(self) -> None:
        for listener in self._all():
            listener.stale()

    def _take(self, message: HubMessage) -> None:
        told: Mapping[str, Any] = json.loads(message.text)
        for listener in self._all():
            listener.news(str(told["key"]), told["value"])

    def _all(self) -> list[Listener]:
        with self._lock:
            return list(self._listeners)


_lock = threading.Lock()
_connections: dict[tuple[str, str], Connection] = {}


def connection_to(url: str, keys: str) -> Connection:
    """Return this process's connection to a Worker."""
    with _lock:
        found = _connections.get((url, keys))
        if found is None:
            found = _connections[url, keys] = Connection(url, keys)
        return found


def _forget_parents() -> None:
    """Start a forked child without connections; the parent's are kept, unused."""
    global _lock, _connections
    _inherited.append(_connections)
    _lock, _connections = threading.Lock(), {}


def _close_all() -> None:
    with _lock:
        connections = list(_connections.values())
        _connections.clear()
    for connection in connections:
        connection.close()


_inherited: list[dict[tuple[str, str], Connection]] = []
os.register_at_fork(after_in_child=_forget_parents)
atexit.register(_close_all)
