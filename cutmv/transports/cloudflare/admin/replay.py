"""Moving dead letters back to their queue, so that an interruption at any line loses none.

A letter is leased, its text (and with it the task's id, the headers, the publisher's id) is
published to its queue, and only once that is accepted is it acked. Whoever is killed in between
leaves two of it under one id; a lease that nobody ends comes back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cutmv.transports.cloudflare.admin.inspect import CALL_TIMEOUT, deadline
from cutmv.transports.cloudflare.api.client import full_jitter
from cutmv.transports.cloudflare.consumer.dead_letters import as_pulled, calls
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    ObjectMissing,
    ObjectStoreError,
    PublishFailed,
    QueueMissing,
)
from cutmv.transports.cloudflare.leases.acknowledger import Lease
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.messages import eta as delays
from cutmv.transports.cloudflare.producer.group_commit import Outgoing
from cutmv.transports.cloudflare.queues.directory import Queue
from cutmv.transports.cloudflare.queues.names import Named
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Letters of one pull, and seconds of their lease: an interrupted replay hides them for that long.
PULL, LEASE = 100, 60.0

#: Deliveries that the dead-letter queue's consumer must allow after the first. There is no second
#: grave: a letter that was looked at too often would be deleted.
LEAST_RETRIES = 2


@dataclass(slots=True)
class Replay:
    """What a replay did: letters moved back, letters left that can't be read, ids not found."""

    moved: int = 0
    unreadable: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Letter:
    entry: dict[str, Any]
    publish_id: str
    task_id: str | None = None
    message: dict[str, Any] = field(default_factory=dict)
    outgoing: Outgoing | None = None  # none: it can't be read

    @classmethod
    def read(cls, entry: dict[str, Any]) -> _Letter:
        try:
            message = envelope.decode(entry)
        except (ValueError, TypeError, KeyError):
            return cls(entry, str(entry.get("id")))
        outgoing = Outgoing(envelope.text_of(entry), delays.due_at(message))
        publish_id, task_id = message["properties"]["message_id"], message["headers"].get("id")
        task_id = None if task_id is None else str(task_id)
        return cls(entry, str(publish_id), task_id, message, outgoing)


def replay(
    session: Session, source: Queue, most: int | None = None, task_ids: Collection[str] = ()
) -> Replay:
    """Move dead letters back to `source`: `most` of them (none: all), or those of `task_ids`.

    A letter that dies again meanwhile is left, and so is what can't be read, which would only
    come back. Raises `QueueMissing` where there is nothing to replay from, and a `CloudflareError`
    whose line tells how far it came.
    """
    name = session.queues.named(source)
    if name is None:
        raise QueueMissing(f"queue {source.name!r} is none of this app's: nothing reads it")
    grave = _grave(session, source, bool(task_ids))
    done = Replay(missing=list(task_ids))
    if grave is None:
        return done
    held: list[_Letter] = []
    session.settler.start()
    try:
        _move(session, name, grave, most, done=done, held=held)
    except CloudflareError as error:
        raise PublishFailed(
            f"{done.moved} dead letter(s) are back in queue {name!r}; then: {error}"
        ) from None
    finally:
        _put_back(session, grave, held)
        settled = session.settler.flush(CALL_TIMEOUT)
    if not settled:
        raise PublishFailed(
            f"{done.moved} dead letter(s) are back in queue {name!r}, but Cloudflare did not take "
            f"their acks: some are still in {grave.name!r} too, under the same ids"
        )
    return done


def _grave(session: Session, source: Queue, chosen: bool) -> Queue | None:
    """Return the dead-letter queue, fit to be pulled from; none if it does not exist (yet)."""
    if not source.dead_letter_queue:
        raise QueueMissing(f"queue {source.name!r} has no dead-letter queue")
    grave = session.queues.find_by_name(source.dead_letter_queue)
    if grave is None:
        return None
    sources = [each.name for each in session.queues.all if each.dead_letter_queue == grave.name]
    if len(sources) > 1 and not chosen:
        raise QueueMissing(
            f"{grave.name!r} holds the dead letters of {', '.join(sorted(sources))}, and does not "
            f"tell which are whose: name those to replay by --task-id"
        )
    grave = session.queues.pullable(grave)
    if grave.max_retries is not None and grave.max_retries < LEAST_RETRIES:
        raise QueueMissing(
            f"the consumer of {grave.name!r} has max_retries {grave.max_retries}, so that to look "
            f"at a letter may delete it: set it to 100"
        )
    return grave


def _move(
    session: Session,
    name: Named,
    grave: Queue,
    most: int | None,
    *,
    done: Replay,
    held: list[_Letter],
) -> None:
    """Move what is asked for; note in `done` what was, and in `held` what is to be put back."""
    chosen, seen = bool(done.missing), set[str]()
    began = time.monotonic()
    while (most is None or done.moved < most) and not (chosen and not done.missing):
        count = PULL if most is None or chosen else min(PULL, most - done.moved)
        fresh: list[_Letter] = []
        pulled = _pull(session, grave, count)
        for letter in map(_Letter.read, pulled):
            (held if letter.publish_id in seen else fresh).append(letter)
            seen.add(letter.publish_id)
        # What is known died again, or is a copy; later it may be what is held, whose lease ended.
        if not pulled or (not fresh and time.monotonic() - began > LEASE):
            return
        wanted: list[tuple[_Letter, Outgoing]] = []
        for letter in fresh:
            room = most is None or done.moved + len(wanted) < most
            asked = not chosen or letter.task_id in done.missing
            if letter.outgoing is not None and room and asked:
                wanted.append((letter, letter.outgoing))
            else:
                done.unreadable += letter.outgoing is None
        held += fresh
        session.publisher(name).publish([_renewed(session, *each) for each in wanted])
        for letter, _ in wanted:
            held.remove(letter)
            session.settler.ack(_lease(grave, letter))
        done.moved += len(wanted)
        moved = {letter.task_id for letter, _ in wanted}
        done.missing = [task_id for task_id in done.missing if task_id not in moved]


def _renewed(session: Session, letter: _Letter, outgoing: Outgoing) -> Outgoing:
    """Return what to publish; an object that the letter refers to begins its life anew."""
    try:
        return Outgoing(session.large.renew(letter.message, outgoing.text), outgoing.due)
    except ObjectMissing:
        return outgoing  # its consumer will say so, and it is a dead letter again
    except ObjectStoreError as error:
        raise PublishFailed(f"task {letter.task_id}'s message can't be renewed: {error}") from None


def _put_back(session: Session, grave: Queue, held: list[_Letter]) -> None:
    """Return letters to the dead-letter queue; anew, those that were looked at often."""
    limit = (grave.max_retries or 0) // 2
    worn = [each.entry for each in held if int(each.entry.get("attempts") or 1) > limit]
    renewed: set[str] = set()
    try:
        for entries in calls(worn):
            session.client.put(grave.queue_id, list(map(as_pulled, entries)), deadline())
            renewed |= {entry["lease_id"] for entry in entries}
    except CloudflareError as error:
        logger.warning("cloudflare: %d dead letters are not renewed: %s", len(worn), error)
    for letter in held:
        if letter.entry["lease_id"] in renewed:
            session.settler.ack(_lease(grave, letter))
        else:
            session.settler.retry(_lease(grave, letter))


def _lease(grave: Queue, letter: _Letter) -> Lease:
    return Lease(grave.queue_id, letter.entry["lease_id"])


def _pull(session: Session, grave: Queue, count: int) -> list[dict[str, Any]]:
    """Lease up to `count` letters, and try again until `CALL_TIMEOUT` where that may help."""
    until, attempt = deadline(), 0
    while True:
        try:
            return session.client.pull(grave.queue_id, count, LEASE, until).messages
        except CloudflareError as error:
            pause = full_jitter(attempt) + (error.retry_after or 0.0)
            if not error.passing or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        attempt += 1
