"""Burying what can't be read: from its queue to its dead-letter queue, so that it is not lost."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare.envelope import METADATA
from cutmv.transports.cloudflare.errors import CloudflareError
from cutmv.transports.cloudflare.leases import Lease
from cutmv.transports.cloudflare.publisher import MAX_BATCH
from cutmv.transports.cloudflare.queues import Queue
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Seconds until a message comes again that was not accepted by its dead-letter queue. Each time
#: counts as a delivery, so that in the end Cloudflare moves it by itself.
BURY_AGAIN = 60.0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry of a pull's answer that is no kombu message, and why."""

    entry: Mapping[str, Any]
    why: str


def bury(session: Session, queue: Queue, unreadable: Sequence[Unreadable]) -> None:
    """Move messages pulled from `queue` to its dead-letter queue; where it has none, remove them.

    Each is removed once its copy is accepted: a crash in between leaves two, and loses none.
    """
    try:
        grave = session.queues.dead_letters(queue)
        for letters in _calls(unreadable):
            if grave is not None:
                deadline = time.monotonic() + session.options.publish_timeout
                messages = [_message(letter.entry) for letter in letters]
                session.client.put(grave.queue_id, messages, deadline)
            for letter in letters:
                logger.error(
                    "cloudflare: message %s of queue %r is rejected (%s) and %s",
                    letter.entry.get("id"),
                    queue.name,
                    letter.why,
                    f"moved to {grave.name!r}" if grave else "removed",
                )
                session.settler.ack(Lease(queue.queue_id, letter.entry["lease_id"]))
            unreadable = unreadable[len(letters) :]
    except CloudflareError as error:
        logger.error(
            "cloudflare: %d message(s) of queue %r can't be read and wait to be moved to %r: %s",
            len(unreadable),
            queue.name,
            queue.dead_letter_queue,
            error,
        )
        for letter in unreadable:
            session.settler.retry(Lease(queue.queue_id, letter.entry["lease_id"]), BURY_AGAIN)


def _calls(unreadable: Sequence[Unreadable]) -> Iterator[list[Unreadable]]:
    """Split what is to be buried into what fits one call each; a pull brings 100 at most."""
    call: list[Unreadable] = []
    size = 0
    for letter in unreadable:
        more = len(str(letter.entry.get("body")).encode(errors="replace")) + METADATA
        if call and size + more > MAX_BATCH:
            yield call
            call, size = [], 0
        call.append(letter)
        size += more
    if call:
        yield call


def _message(entry: Mapping[str, Any]) -> dict[str, Any]:
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
