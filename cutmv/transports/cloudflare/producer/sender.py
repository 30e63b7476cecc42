"""Puts messages into queues: through the edge Worker where there is one, else by the REST API.

While the Worker does not answer, or has no binding for a queue, the sender uses the REST API; the
caller need not know. Either way the hub wakes up the queue's pollers. When a response is lost, a
message may be in the queue twice, as after any publish that was tried again; both have one id.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from cutmv.transports.cloudflare.api import Client
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
                return
        self._client.publish(queue.queue_id, texts, deadline)
        if self._hub is not None and time.monotonic() >= self._edge_away_until:
            self._hub.wake_up(queue.name)

    def close(self) -> None:
        """Close the connections to the Worker."""
        if self._edge is not None:
            self._edge.close()

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
