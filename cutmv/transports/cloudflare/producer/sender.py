"""Puts messages into queues: through the edge Worker where there is one, else by the REST API.

While the Worker does not answer, or has no binding for a queue, the sender uses the REST API; the
caller need not know. Either way the hub wakes up the queue's pollers. When a response is lost, a
message may be in the queue twice, as after any publish that was tried again; both have one id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from cutmv.transports.cloudflare.api import Client, operations
from cutmv.transports.cloudflare.edge import EdgeClient, HubClient
from cutmv.transports.cloudflare.errors import CloudflareError, NotFound, Refused
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import Queue, stands_for_binding

logger = logging.getLogger(__name__)

#: Seconds for which the REST API is used after the Worker failed, and for a queue after the Worker
#: had no binding for it.
EDGE_PAUSE, UNSERVED_PAUSE = 5.0, 60.0


class Sender:
    """Puts messages into queues, by the edge Worker or the REST API. Threads share it."""

    def __init__(self, client: Client, options: Options, hub: HubClient | None) -> None:
        self._client = client
        self._hub = hub
        self._edge: EdgeClient | None = None
        if options.edge_url:
            self._edge = EdgeClient(options.edge_url, options.edge_keys, options.queue_name_prefix)
        self._edge_away_until = 0.0
        self._window = options.rate_window
        #: When calls of a single message were made: as many as a quarter of the limit.
        self._singles: deque[float] = deque(maxlen=max(1, client.rate_limiter.limit // 4))
        self._told = client.rate_limiter.limit == 0
        self._lock = threading.Lock()
        self._counts = {"calls": 0, "messages": 0, "by_edge": 0}
        self._unserved: dict[str, float] = {}  # queues without a binding: until when to leave them

    def publish(
        self, queue: Queue, texts: Sequence[tuple[str, int | None]], deadline: float
    ) -> None:
        """Put messages on a queue; see `api.Client.publish`."""
        if self._edge is not None and self._serves(queue.name):
            try:
                self._edge.publish(queue.name, texts, deadline)
            except CloudflareError as error:
                self._note_failure(queue.name, error)
            else:
                self._edge_away_until = 0.0
                self._count(len(texts), by_edge=1)
                operations.wrote(text for text, _ in texts)
                return
        self._client.publish(queue.queue_id, texts, deadline)
        self._count(len(texts), by_edge=0)
        if len(texts) == 1 and not stands_for_binding(queue.name):
            self._count_single()
        if self._hub is not None and time.monotonic() >= self._edge_away_until:
            self._hub.wake_up(queue.name)

    def stats(self) -> dict[str, int]:
        """Return how many messages were accepted, by how many calls, and how many by the Worker."""
        with self._lock:
            return dict(self._counts)

    def _count(self, messages: int, by_edge: int) -> None:
        with self._lock:
            self._counts["calls"] += 1
            self._counts["messages"] += messages
            self._counts["by_edge"] += by_edge * messages

    def close(self) -> None:
        """Close the connections to the Worker."""
        if self._edge is not None:
            self._edge.close()

    def _count_single(self) -> None:
        """Count a call that published one message; tell of blocks once, before any is refused."""
        singles, now = self._singles, time.monotonic()
        singles.append(now)
        few = len(singles) < (singles.maxlen or 0) or now - singles[0] > self._window
        if self._told or few or not self._client.rate_limiter.scarce:
            return
        self._told = True
        logger.warning(
            "cloudflare: half of the calls that the account has in %.0f s are used up, %d of them "
            "for a message each in %.1f s; more are slowed down, then refused. Have loops share "
            "calls, up to 100 messages each: `with publish_batch(app):`, or use the edge Worker, "
            "which has no such limit",
            self._window,
            len(singles),
            now - singles[0],
        )

    def _serves(self, queue_name: str) -> bool:
        now = time.monotonic()
        if now < self._edge_away_until or stands_for_binding(queue_name):
            return False
        return now >= self._unserved.get(queue_name, 0.0)

    def _note_failure(self, queue_name: str, error: CloudflareError) -> None:
        if isinstance(error, NotFound):
            if queue_name not in self._unserved:
                logger.warning("cloudflare: %s; the REST API is used", error)
            self._unserved[queue_name] = time.monotonic() + UNSERVED_PAUSE
            return
        if isinstance(error, Refused):
            return  # the REST API's error says what is wrong with the messages
        if not self._edge_away_until:
            logger.warning("cloudflare: %s; the REST API is used meanwhile", error)
        self._edge_away_until = time.monotonic() + EDGE_PAUSE
