"""The reaper: deletes binding queues that hold old messages, since no process reads them."""

from __future__ import annotations

import logging
import time

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.queues import (
    BINDING_RETENTION_MIN,
    QueueDirectory,
    TemporaryBinding,
)

logger = logging.getLogger(__name__)

#: Seconds between checks whether a process reads a binding queue.
CHECK_INTERVAL = 120.0

#: The age (s) of a message which shows that no process reads its queue, for the shortest retention;
#: it grows with the queue's retention.
UNREAD_AFTER = 30.0

#: Seconds that a check may take.
CHECK_TIMEOUT = 2.0

#: Binding queues remembered at most; when there are more, most belong to processes that are gone.
MAX_REMEMBERED = 10_000


class Reaper:
    """Checks the binding queues that a process publishes to, every `CHECK_INTERVAL` seconds.

    Only one thread uses it.
    """

    def __init__(self, client: Client, directory: QueueDirectory) -> None:
        self._client, self._directory = client, directory
        self._checked_at: dict[str, float] = {}

    def check(self, binding: TemporaryBinding, queue_id: str) -> None:
        """Delete a binding queue if no process reads its messages.

        Raises a `CloudflareError` where the API does not answer.
        """
        now = time.monotonic()
        checked_at = self._checked_at.setdefault(queue_id, now)
        if now - checked_at < CHECK_INTERVAL:
            return
        if len(self._checked_at) > MAX_REMEMBERED:
            self._checked_at.clear()
        self._checked_at[queue_id] = now
        deadline = now + CHECK_TIMEOUT
        oldest = self._client.backlog(queue_id, deadline).oldest
        patience = UNREAD_AFTER * self._directory.retention(binding) / BINDING_RETENTION_MIN
        if oldest is not None and time.time() - oldest > patience:
            self._directory.delete_binding(binding, queue_id, deadline)
            logger.info("cloudflare: a binding that nobody reads is deleted: %s", binding.name)
