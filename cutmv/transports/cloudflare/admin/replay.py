"""Replays dead letters: moves them back to their queue, and loses none if it is interrupted.

A replay leases a dead letter, publishes its text (with the task's id, the headers and the
publisher's id) to its queue, and acks it only once that is accepted. A replay that is killed in
between leaves two copies under one id; a dead letter that it has leased and not acked comes back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cutmv.transports.cloudflare.admin.inspect import CALL_TIMEOUT, deadline
from cutmv.transports.cloudflare.consumer import adopted, as_pulled, calls
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    ObjectMissing,
    ObjectStoreError,
    PublishFailed,
    QueueMissing,
)
from cutmv.transports.cloudflare.leases import Delivery
from cutmv.transports.cloudflare.messages import Outgoing, envelope, eta
from cutmv.transports.cloudflare.queues import Queue, QueueName
from cutmv.transports.cloudflare.runtime import full_jitter
from cutmv.transports.cloudflare.session import Session

logger = logging.getLogger(__name__)

#: Dead letters of one pull, and seconds of their lease, for which an interrupted replay hides them.
MAX_PULL, LEASE_SECONDS = 100, 60.0

#: Deliveries that the dead-letter queue's consumer must allow after the first. A dead-letter queue
#: has no dead-letter queue: a dead letter that is pulled too often is deleted.
LEAST_RETRIES = 2


@dataclass(slots=True)
class Replay:
    """A replay's result: dead letters moved back, unreadable ones left, and ids not found."""

    moved: int = 0
    unreadable: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _DeadLetter:
    delivery: Delivery
    publish_id: str
    task_id: str | None = None
    message: dict[str, Any] = field(default_factory=dict)
    outgoing: Outgoing | None = None  # none: it can't be read

    @classmethod
    def read(cls, delivery: Delivery, source: str, foreign_task: str | None) -> _DeadLetter:
        """Read a dead letter of the queue `source`, which may stand for a task."""
        entry = adopted(foreign_task, source, delivery.entry)
        try:
            message = envelope.decode(entry)
        except (ValueError, TypeError, KeyError):
            return cls(delivery, str(entry.get("id")))
        outgoing = Outgoing(envelope.text_of(entry), eta.due_at(message))
        publish_id = envelope.publish_id(message) or str(entry.get("id"))
        task_id = message["headers"].get("id")
        task_id = None if task_id is None else str(task_id)
        return cls(delivery, publish_id, task_id, message, outgoing)


def replay_dead_letters(
    session: Session, source: Queue, most: int | None = None, task_ids: Collection[str] = ()
) -> Replay:
    """Move dead letters back to `source`: `most` of them (none: all), or those of `task_ids`.

    A message that becomes a dead letter again meanwhile is left, and so is one that can't be read,
    which would only come back. Raises `QueueMissing` where the queue can't be replayed, and a
    `CloudflareError` whose text says how many dead letters were moved before it.
    """
    name = session.directory.named(source)
    if name is None:
        raise QueueMissing(f"queue {source.name!r} is none of this app's: nothing reads it")
    target = _dead_letter_queue(session, source, bool(task_ids))
    done = Replay(missing=list(task_ids))
    if target is None:
        return done
    held: list[_DeadLetter] = []
    session.acknowledger.start()
    try:
        _move(session, name, target, most, done=done, held=held)
    except CloudflareError as error:
        raise PublishFailed(
            f"{done.moved} dead letter(s) are back in queue {name!r}; then: {error}"
        ) from None
    finally:
        _put_back(session, target, held)
        accepted = session.acknowledger.flush_calls(CALL_TIMEOUT)
    if not accepted:
        raise PublishFailed(
            f"{done.moved} dead letter(s) are back in queue {name!r}, but Cloudflare did not take "
            f"their acks: some are still in {target.name!r} too, under the same ids"
        )
    return done


def _dead_letter_queue(session: Session, source: Queue, chosen: bool) -> Queue | None:
    """Return the dead-letter queue, with a pull consumer; none if it does not exist (yet)."""
    if not source.dead_letter_queue:
        raise QueueMissing(f"queue {source.name!r} has no dead-letter queue")
    target = session.directory.find_by_name(source.dead_letter_queue)
    if target is None:
        return None
    sources = [each.name for each in session.directory.all if each.dead_letter_queue == target.name]
    if len(sources) > 1 and not chosen:
        raise QueueMissing(
            f"{target.name!r} holds the dead letters of {', '.join(sorted(sources))}, and does not "
            f"tell which are whose: name those to replay by --task-id"
        )
    target = session.directory.pullable(target)
    if target.max_retries is not None and target.max_retries < LEAST_RETRIES:
        raise QueueMissing(
            f"the consumer of {target.name!r} has max_retries {target.max_retries}, so that to "
            f"look at a dead letter may delete it: set it to 100"
        )
    return target


def _move(
    session: Session,
    name: QueueName,
    target: Queue,
    most: int | None,
    *,
    done: Replay,
    held: list[_DeadLetter],
) -> None:
    """Move the chosen dead letters; count them in `done`, and add those to return to `held`."""
    chosen, seen = bool(done.missing), set[str]()
    foreign_task = session.options.task_of_foreign(str(name))
    began = time.monotonic()
    while (most is None or done.moved < most) and not (chosen and not done.missing):
        count = MAX_PULL if most is None or chosen else min(MAX_PULL, most - done.moved)
        fresh: list[_DeadLetter] = []
        pulled = _pull(session, target, count)
        for delivery in pulled:
            one = _DeadLetter.read(delivery, str(name), foreign_task)
            (held if one.publish_id in seen else fresh).append(one)
            seen.add(one.publish_id)
        # A known id is a copy, became a dead letter again, or is held and its lease has ended.
        if not pulled or (not fresh and time.monotonic() - began > LEASE_SECONDS):
            return
        wanted: list[tuple[_DeadLetter, Outgoing]] = []
        for one in fresh:
            room = most is None or done.moved + len(wanted) < most
            asked = not chosen or one.task_id in done.missing
            if one.outgoing is not None and room and asked:
                wanted.append((one, one.outgoing))
            else:
                done.unreadable += one.outgoing is None
        held += fresh
        session.publishers.to(name).publish([_renewed(session, *each) for each in wanted])
        for one, _ in wanted:
            held.remove(one)
            session.acknowledger.ack(one.delivery)
        done.moved += len(wanted)
        moved = {one.task_id for one, _ in wanted}
        done.missing = [task_id for task_id in done.missing if task_id not in moved]


def _renewed(session: Session, dead: _DeadLetter, outgoing: Outgoing) -> Outgoing:
    """Return the message to publish; write the object that it refers to again if it is old."""
    try:
        return Outgoing(session.claim_checks.renew(dead.message, outgoing.text), outgoing.due)
    except ObjectMissing:
        return outgoing  # its consumer will report it, and make it a dead letter again
    except ObjectStoreError as error:
        raise PublishFailed(f"task {dead.task_id}'s message can't be renewed: {error}") from None


def _put_back(session: Session, target: Queue, held: list[_DeadLetter]) -> None:
    """Return dead letters to their queue; publish those anew that were pulled often."""
    limit = (target.max_retries or 0) // 2
    worn = [each.delivery.entry for each in held if each.delivery.attempts > limit]
    renewed: set[str] = set()
    try:
        for entries in calls(worn):
            session.client.put(target.queue_id, list(map(as_pulled, entries)), deadline())
            renewed |= {entry["lease_id"] for entry in entries}
    except CloudflareError as error:
        logger.warning("cloudflare: %d dead letters are not renewed: %s", len(worn), error)
    for one in held:
        if one.delivery.lease.lease_id in renewed:
            session.acknowledger.ack(one.delivery)
        else:
            session.acknowledger.requeue(one.delivery)


def _pull(session: Session, target: Queue, count: int) -> list[Delivery]:
    """Lease up to `count` dead letters; retry errors that may pass for `CALL_TIMEOUT` seconds."""
    until, attempt = deadline(), 0
    while True:
        try:
            answer = session.client.pull(target.queue_id, count, LEASE_SECONDS, until)
            return [Delivery.pulled(target.queue_id, entry) for entry in answer.messages]
        except CloudflareError as error:
            pause = full_jitter(attempt) + (error.retry_after or 0.0)
            if not error.passing or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        attempt += 1
