"""Finds orphans, binding queues whose process is gone, by testing whether a process reads them.

The API does not tell when a queue was last pulled from, and an empty queue looks the same with and
without a reader. So each binding queue gets a probe, which a reader takes at once and drops. Where
the probe, or an old message, is still there after a while, no process reads the queue. A reader
that was only cut off for that long creates its binding queue again (`fanout.binding_poller`);
messages sent to it meanwhile would have been too old for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

from cutmv.transports.cloudflare.admin.inspect import MAX_PEEK, PARALLEL_CALLS, deadline
from cutmv.transports.cloudflare.errors import NotFound
from cutmv.transports.cloudflare.fanout import UNREAD_AFTER
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.queues import TemporaryBinding
from cutmv.transports.cloudflare.session import Session

#: Binding queues tested at once, at random: two calls for each, and one to delete it, are half of
#: the calls that the account may make in five minutes. The search must end before probes expire.
MAX_PROBED = 200


@dataclass(frozen=True, slots=True)
class Orphan:
    """A binding queue that no process reads, and its id."""

    binding: TemporaryBinding
    queue_id: str


@dataclass(frozen=True, slots=True)
class Search:
    """The orphans found among `probed` binding queues, and how many others were not tested."""

    orphans: list[Orphan]
    probed: int
    left: int


def search_orphans(session: Session, wait: float) -> Search:
    """Return the binding queues that no process reads within `wait` seconds (under 60)."""
    found = [
        Orphan(binding, queue.queue_id)
        for queue in session.directory.all
        if (binding := TemporaryBinding.read(queue.name)) is not None
    ]
    some = random.sample(found, min(len(found), MAX_PROBED))
    token = uuid4().hex
    text = envelope.probe(token)

    def ask(one: Orphan) -> bool:
        session.client.publish(one.queue_id, [(text, 0)], deadline())
        return True

    def is_unread(one: Orphan) -> bool:
        waiting = session.client.peek(one.queue_id, MAX_PEEK, deadline())
        if any(envelope.probed(entry) == token for entry in waiting):
            return True
        # The probe may be behind more messages than a peek shows, which then are old.
        sent = [entry["timestamp_ms"] / 1000 for entry in waiting if entry.get("timestamp_ms")]
        return (
            len(waiting) == MAX_PEEK and time.time() - min(sent, default=time.time()) > UNREAD_AFTER
        )

    asked = _each(some, ask)
    if asked:
        time.sleep(wait)

    return Search(_each(asked, is_unread), len(some), len(found) - len(some))


def delete_orphans(session: Session, orphans: Iterable[Orphan]) -> None:
    """Delete orphans with their messages."""
    for orphan in orphans:
        session.directory.delete_binding(orphan.binding, orphan.queue_id, deadline())


def _each(orphans: list[Orphan], holds: Callable[[Orphan], bool]) -> list[Orphan]:
    """Return the binding queues for which `holds` is true, except those that are gone by now."""

    def check(one: Orphan) -> bool:
        try:
            return holds(one)
        except NotFound:
            return False

    with ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        verdicts = pool.map(check, orphans)
        return [one for one, verdict in zip(orphans, verdicts, strict=True) if verdict]
