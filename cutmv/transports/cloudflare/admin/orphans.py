"""Mailboxes whose process is gone: found by asking whether anybody reads them.

The API does not tell when a queue was last pulled from, and an empty mailbox looks the same with
and without a reader. So each gets a probe, which a reader takes at once and drops. Where it, or an
old message, still lies there after a while, nobody reads. A reader that was only cut off for that
long makes its mailbox again (see `mailboxes`); what was sent to it meanwhile was too old for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

from cutmv.transports.cloudflare.admin.inspect import MAX_PEEK, PARALLEL, deadline
from cutmv.transports.cloudflare.errors import NotFound
from cutmv.transports.cloudflare.fanout.broadcaster import UNREAD
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.queues.bindings import Address
from cutmv.transports.cloudflare.session import Session

#: Mailboxes looked at in one go, at random: two calls for each, and one to delete it, are half of
#: what the account may make in five minutes. Probes must be looked for before they expire.
MAX_PROBED = 200


@dataclass(frozen=True, slots=True)
class Orphan:
    """A mailbox that nobody reads, and its queue's id."""

    address: Address
    queue_id: str


@dataclass(frozen=True, slots=True)
class Search:
    """The orphans found among `probed` mailboxes, and how many others were not looked at."""

    orphans: list[Orphan]
    probed: int
    left: int


def search(session: Session, wait: float) -> Search:
    """Return the mailboxes that nobody has read for `wait` seconds, which must be under 60."""
    found = [
        Orphan(address, queue.queue_id)
        for queue in session.queues.all
        if (address := Address.read(queue.name)) is not None
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
        # The probe may lie behind others, which then are old.
        sent = [entry["timestamp_ms"] / 1000 for entry in waiting if entry.get("timestamp_ms")]
        return len(waiting) == MAX_PEEK and time.time() - min(sent, default=time.time()) > UNREAD

    asked = _each(some, ask)
    if asked:
        time.sleep(wait)

    return Search(_each(asked, is_unread), len(some), len(found) - len(some))


def delete(session: Session, orphans: Iterable[Orphan]) -> None:
    """Delete mailboxes with what they hold."""
    for orphan in orphans:
        session.queues.delete_mailbox(orphan.address, orphan.queue_id, deadline())


def _each(mailboxes: list[Orphan], holds: Callable[[Orphan], bool]) -> list[Orphan]:
    """Return the mailboxes for which `holds`, but for those that are gone meanwhile."""

    def check(one: Orphan) -> bool:
        try:
            return holds(one)
        except NotFound:
            return False

    with ThreadPoolExecutor(PARALLEL) as pool:
        verdicts = pool.map(check, mailboxes)
        return [one for one, verdict in zip(mailboxes, verdicts, strict=True) if verdict]
