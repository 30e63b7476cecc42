"""Moves messages that can't be read, or are rejected, to their queue's dead-letter queue."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import queue as queues
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import CloudflareError
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery
from cutmv.transports.cloudflare.messages import limits
from cutmv.transports.cloudflare.queues import Queue, QueueDirectory
from cutmv.transports.cloudflare.runtime import BackgroundThread
from cutmv.transports.cloudflare.troubles import note_trouble

logger = logging.getLogger(__name__)

#: Seconds until a message that its dead-letter queue did not accept is delivered again. Each time
#: counts as a delivery, so that in the end Cloudflare moves the message itself.
MOVE_RETRY_DELAY = 60.0

#: An entry of a pull's response.
Entry = Mapping[str, Any]


class DeadLetters:
    """Moves messages to dead-letter queues. Threads share it; its owner closes it.

    `publish_timeout` is how many seconds one publishing call may take. What must not wait for that
    hands messages over to a thread, by `add`.
    """

    def __init__(
        self,
        client: Client,
        directory: QueueDirectory,
        acknowledger: Acknowledger,
        publish_timeout: float,
    ) -> None:
        self._client = client
        self._directory = directory
        self._acknowledger = acknowledger
        self._publish_timeout = publish_timeout
        self._added: queues.SimpleQueue[tuple[Queue, Delivery, str] | None] = queues.SimpleQueue()
        self._thread = BackgroundThread("dead-letters", self._run, lambda: self._added.put(None))

    def add(self, queue: Queue, delivery: Delivery, why: str) -> None:
        """Have a delivery moved soon, with others of its queue; never blocks."""
        self._added.put((queue, delivery, why))
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Move what waits for it, within `timeout` seconds, and end the thread."""
        self._thread.close(timeout)

    def _run(self) -> None:
        while not (self._thread.stopping.is_set() and self._added.empty()):
            taken = [self._added.get()]
            while not self._added.empty():
                taken.append(self._added.get())
            by_queue: dict[Queue, list[tuple[Delivery, str]]] = {}
            for each in filter(None, taken):
                by_queue.setdefault(each[0], []).append(each[1:])
            for queue, rejected in by_queue.items():
                self.move(queue, rejected)

    def move(self, queue: Queue, unreadable: Sequence[tuple[Delivery, str]]) -> None:
        """Move deliveries from `queue` to its dead-letter queue; where it has none, remove them.

        Each comes with the reason. A message is removed once its copy is
        accepted: a crash in between leaves two copies, and loses none.
        """
        waiting = {delivery.lease.lease_id: (delivery, why) for delivery, why in unreadable}
        for delivery, _ in unreadable:
            delivery.owned = False
        try:
            target = self._directory.dead_letter_queue(queue)
            for entries in calls([delivery.entry for delivery, _ in unreadable]):
                if target is not None:
                    deadline = time.monotonic() + self._publish_timeout
                    self._client.put(target.queue_id, list(map(as_pulled, entries)), deadline)
                for entry in entries:
                    delivery, why = waiting.pop(entry["lease_id"])
                    logger.error(
                        "cloudflare: message %s of queue %r is rejected (%s) and %s",
                        entry.get("id"),
                        queue.name,
                        why,
                        f"moved to {target.name!r}" if target else "removed",
                    )
                    delivery.leave_to_copy()
                    self._acknowledger.reject(delivery)
        except Exception as error:
            if not isinstance(error, CloudflareError):
                note_trouble(f"dead letters of {queue.name}", error, "they wait to be moved")
            logger.error(
                "cloudflare: %d message(s) of queue %r wait to be moved to %r: %s",
                len(waiting),
                queue.name,
                queue.dead_letter_queue,
                error,
            )
            for delivery, _ in waiting.values():
                self._acknowledger.requeue(delivery, MOVE_RETRY_DELAY)


def calls(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Split pulled entries into lists that fit one publishing call each."""
    return limits.in_calls(
        entries, lambda each: len(str(each.get("body")).encode(errors="replace")) + limits.METADATA
    )


def as_pulled(entry: Entry) -> dict[str, Any]:
    """Return a pulled entry as a message to publish, of the same type where the API takes it.

    The API takes no bytes, which only a Worker can send: they are published as text, or, if they
    are not text, as the base64 in which they were pulled.
    """
    body, kind = entry.get("body", ""), (entry.get("metadata") or {}).get("CF-Content-Type")
    if kind in ("json", "bytes"):
        try:
            text = base64.b64decode(body, validate=True).decode()
            if kind == "json":
                return {"body": json.loads(text), "content_type": "json"}
            body = text
        except (ValueError, binascii.Error, RecursionError):
            pass
    return {"body": str(body), "content_type": "text"}
