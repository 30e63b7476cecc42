"""The reaper: deletes binding queues that hold old messages, since no process reads them."""

from __future__ import annotations

import logging
import math
import time

from cutmv.transports.cloudflare.api import Backlog, Client
from cutmv.transports.cloudflare.queues import (
    BINDING_RETENTION_MIN,
    QueueDirectory,
    TemporaryBinding,
)

logger = logging.getLogger(__name__)

#: Seconds between checks whether a process reads a binding queue, at least.
CHECK_INTERVAL = 120.0

#: The age (s) of a message which shows that no process reads its queue, for the shortest retention;
#: it grows with the queue's retention.
UNREAD_AFTER = 30.0

#: Seconds that a check may take.
CHECK_TIMEOUT = 2.0

#: Binding queues remembered at most; when there are more, most belong to processes that are gone.
MAX_REMEMBERED = 10_000


class Reaper:
    """Checks the binding queues that a process publishes to.

    Only one thread uses it.
    """

    def __init__(self, client: Client, directory: QueueDirectory) -> None:
        self._client, self._directory = client, directory
        self._checked_at: dict[str, float] = {}

    def check(self, binding: TemporaryBinding, queue_id: str, told: Backlog | None) -> None:
        """Delete a binding queue if no process reads its messages.

        `told` is what the response to a publish said of the queue. It saves the call that checks a
        queue which is read, and alone is no reason to delete one. Raises a `CloudflareError` where
        the API does not answer.
        """
        now = time.monotonic()
        retention = self._directory.retention(binding)
        patience = UNREAD_AFTER * retention / BINDING_RETENTION_MIN

        def unread(backlog: Backlog) -> bool:
            return backlog.oldest is not None and time.time() - backlog.oldest > patience

        if told is not None and not unread(told):
            return
        checked_at = self._checked_at.setdefault(queue_id, now if told is None else -math.inf)
        if now - checked_at < CHECK_INTERVAL:
            return
        if len(self._checked_at) > MAX_REMEMBERED:
            self._checked_at.clear()
        self._checked_at[queue_id] = now
        deadline = now + CHECK_TIMEOUT
        if unread(self._client.backlog(queue_id, deadline)):
            self._directory.delete_binding(binding, queue_id, deadline)
            logger.info("cloudflare: a binding that nobody reads is deleted: %s", binding.name)
