"""Burying what can't be read: from its queue to its dead-letter queue, so that it is not lost."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cutmv.transports.cloudflare.errors import CloudflareError
from cutmv.transports.cloudflare.leases.acknowledger import Lease
from cutmv.transports.cloudflare.messages.envelope import METADATA, in_calls
from cutmv.transports.cloudflare.queues.directory import Queue
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Seconds until a message comes again that was not accepted by its dead-letter queue. Each time
#: counts as a delivery, so that in the end Cloudflare moves it by itself.
BURY_AGAIN = 60.0


#: An entry of a pull's answer.
Entry = Mapping[str, Any]


def bury(session: Session, queue: Queue, unreadable: Sequence[tuple[Entry, str]]) -> None:
    """Move messages pulled from `queue` to its dead-letter queue; where it has none, remove them.

    Each comes with why it can't be read. It is removed once its copy is accepted: a crash in
    between leaves two, and loses none.
    """
    whys = {entry["lease_id"]: why for entry, why in unreadable}
    leases = {entry["lease_id"]: Lease.of(queue.queue_id, entry) for entry, _ in unreadable}
    try:
        grave = session.queues.dead_letters(queue)
        for entries in calls([entry for entry, _ in unreadable]):
            if grave is not None:
                deadline = time.monotonic() + session.options.publish_timeout
                session.client.put(grave.queue_id, list(map(as_pulled, entries)), deadline)
            for entry in entries:
                logger.error(
                    "cloudflare: message %s of queue %r is rejected (%s) and %s",
                    entry.get("id"),
                    queue.name,
                    whys.pop(entry["lease_id"]),
                    f"moved to {grave.name!r}" if grave else "removed",
                )
                session.settler.ack(leases[entry["lease_id"]])
    except CloudflareError as error:
        logger.error(
            "cloudflare: %d message(s) of queue %r can't be read and wait to be moved to %r: %s",
            len(whys),
            queue.name,
            queue.dead_letter_queue,
            error,
        )
        for lease_id in whys:
            session.settler.retry(leases[lease_id], BURY_AGAIN)


def calls(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Split what a pull brought into what fits one publishing call each."""
    return in_calls(
        entries, lambda each: len(str(each.get("body")).encode(errors="replace")) + METADATA
    )


def as_pulled(entry: Entry) -> dict[str, Any]:
    """Return what was pulled as something to publish, of the same type where the API takes it.

    It takes no bytes, which only a Worker can send: they go as text, or, if they are none, as the
    base64 they came in.
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
