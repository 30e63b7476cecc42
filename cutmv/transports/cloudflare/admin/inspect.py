"""Shows an account's queues and their messages to an operator, and removes messages.

The functions take a `session.Session`; `opened` makes one from the environment. The API's peek
shows messages: it leases none, and shows only waiting messages, neither leased nor delayed ones.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cutmv.transports.cloudflare import session as sessions
from cutmv.transports.cloudflare.api import Backlog, Credentials
from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    NotFound,
    QueueMissing,
    QueueNameError,
    Throttled,
)
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import Queue, stands_for_binding
from cutmv.transports.cloudflare.session import Session

#: Seconds one call may take, retries and waiting for the rate limiter included. An operator waits
#: longer than a publisher.
CALL_TIMEOUT = 30.0

#: Messages that one peek shows at most, and that one call removes.
MAX_PEEK = 100

#: Celery's headers that tell the task of a message.
TASK_HEADERS = ("task", "id", "eta")

#: Calls made concurrently where each queue needs one.
PARALLEL_CALLS = 8


@dataclass(frozen=True, slots=True)
class Overview:
    """A queue, kombu's name for it (none: it has none), and roughly what it holds.

    `of_binding` tells whether it is a binding queue.
    """

    queue: Queue
    name: str | None
    of_binding: bool
    backlog: Backlog


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits in a queue.

    `sent` is when it was put there (seconds since 1970), and `remove` takes `ref`. The task comes
    from Celery's headers; `unreadable` says why they can't be read.
    """

    message_id: str
    attempts: int
    sent: float | None
    ref: str
    task: str | None = None
    task_id: str | None = None
    eta: str | None = None
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of single messages that were to be removed, by their refs or task ids.

    Those `missing` did not wait in the queue. Those `unsure` do not any more: the answer to the
    call that removed them was lost, or a worker has taken them in between.
    """

    missing: list[str]
    unsure: list[str]


@dataclass(frozen=True, slots=True)
class DeadLetterListing:
    """A queue (`source`), its dead-letter queue, and the first messages of the latter."""

    source: Queue
    queue: Queue
    messages: Sequence[Waiting]


@contextmanager
def opened(prefix: str = "") -> Iterator[Session]:
    """Yield a session with the environment's account, after listing its queues.

    `prefix` is the app's `queue_name_prefix`. Raises `ConfigurationError` or a `CloudflareError`.
    """
    options = Options.read({"queue_name_prefix": prefix, "publish_timeout": CALL_TIMEOUT})
    session = sessions.acquire(Credentials.read(None, None), options)
    try:
        session.directory.refresh(0, deadline())
        yield session
    finally:
        sessions.release(session)


@contextmanager
def session_of(app: Any) -> Iterator[Session]:
    """Yield the session of a Celery app's own broker, after listing its account's queues.

    The connection is one of the app's pool, so that the session stays, and with it the rate limiter
    that knows which calls were made. Raises as `opened`.
    """
    with app.connection_or_acquire() as connection:
        session: Session = connection.transport.session
        session.directory.refresh(0, deadline())
        yield session


def deadline() -> float:
    """Return the time, by `time.monotonic`, at which a call that begins now gives up."""
    return time.monotonic() + CALL_TIMEOUT


def find(session: Session, name: str) -> Queue:
    """Return the queue that kombu, or else Cloudflare, calls `name`; raises `QueueMissing`."""
    known = {queue.name: queue for queue in session.directory.all}
    try:
        queue = known.get(session.directory.queue_name(name))
    except QueueNameError:
        queue = None
    queue = queue or known.get(name)
    if queue is None:
        raise QueueMissing(
            f"the account has no queue {name!r}; `cutmv queues ls` shows those it has"
        )
    return queue


def overviews(
    session: Session, bindings: bool, names: Collection[str] | None = None
) -> list[Overview]:
    """Return all queues by name, with `bindings` also binding queues; makes a call for each.

    Of `names`, where given, those alone that kombu calls so.
    """
    prefixed = bool(session.options.queue_name_prefix)
    shown = []
    for queue in sorted(session.directory.all, key=lambda queue: queue.name):
        name, of_binding = session.directory.name_of(queue), stands_for_binding(queue.name)
        if names is not None and name not in names:
            continue
        if bindings if of_binding else name is not None or not prefixed:
            shown.append((queue, name, of_binding))

    def look(queue: Queue) -> Backlog | None:
        try:
            return session.client.backlog(queue.queue_id, deadline())
        except NotFound:
            return None  # deleted since it was listed

    with ThreadPoolExecutor(PARALLEL_CALLS) as pool:
        backlogs = pool.map(look, [queue for queue, _, _ in shown])
        return [
            Overview(queue, name, of_binding, backlog)
            for (queue, name, of_binding), backlog in zip(shown, backlogs, strict=True)
            if backlog is not None
        ]


def peek(session: Session, queue: Queue, count: int = MAX_PEEK) -> list[Waiting]:
    """Return the first waiting messages of `queue`, `count` (1 to 100) at most."""
    return [_read(entry) for entry in session.client.peek(queue.queue_id, count, deadline())]


def pause(session: Session, queue: Queue, paused: bool) -> None:
    """Have nobody get the messages of `queue`, or whoever consumes it again."""
    session.client.change(queue.queue_id, {"delivery_paused": paused}, deadline())


def purge(session: Session, queue: Queue) -> int:
    """Start the removal of all of a queue's messages; return roughly how many there are."""
    count = session.client.backlog(queue.queue_id, deadline()).count
    session.client.purge(queue.queue_id, deadline())
    return count


def remove(
    session: Session, queue: Queue, refs: Collection[str], task_ids: Collection[str]
) -> Removed:
    """Remove single messages, by a peek's refs and by task ids (of the 100 that a peek shows)."""
    waiting = peek(session, queue) if task_ids else []
    found = [message for message in waiting if message.task_id in task_ids]
    names = {ref: ref for ref in refs} | {each.ref: str(each.task_id) for each in found}
    missing = [each for each in task_ids if each not in names.values()]
    unsure: list[str] = []
    for some in _hundreds(list(names)):
        lost = False
        try:
            warnings = session.client.remove(queue.queue_id, some, deadline(), retried=False)
        except CloudflareError as error:
            if not error.passing:
                raise
            lost = not isinstance(error, Throttled)  # else the call may have been done
            warnings = session.client.remove(queue.queue_id, some, deadline())
        (unsure if lost else missing).extend(names[ref] for ref in some if ref in warnings)
    return Removed(missing, unsure)


def dead_letters(
    session: Session, source: Queue | None, count: int = MAX_PEEK
) -> list[DeadLetterListing]:
    """Return the dead letters of one queue, or of all queues, the first `count` of each.

    Raises `QueueMissing` where `source` has no dead-letter queue.
    """
    if source is not None and not source.dead_letter_queue:
        raise QueueMissing(f"queue {source.name!r} has no dead-letter queue")
    found = []
    for each in [source] if source else session.directory.all:
        name = each.dead_letter_queue
        if name and (queue := session.directory.find_by_name(name)) is not None:
            found.append(DeadLetterListing(each, queue, peek(session, queue, count)))
    return found


def why_dead(message: Waiting, source: Queue) -> str:
    """Return why a message of `source` became a dead letter, as far as that is known."""
    if message.unreadable:
        return f"can't be read: {message.unreadable}"
    if source.max_retries is None:
        return "delivered too often, and never acked"
    return f"delivered {source.max_retries + 1} times, and never acked"


def _read(entry: dict[str, Any]) -> Waiting:
    sent = entry.get("timestamp_ms")
    message = Waiting(
        message_id=str(entry.get("id") or ""),
        attempts=int(entry.get("attempts") or 0),
        sent=None if sent is None else sent / 1000,
        ref=str(entry.get("ref") or ""),
    )
    try:
        headers = envelope.decode({**entry, "lease_id": ""})["headers"]
    except (ValueError, TypeError, KeyError) as error:
        return replace(message, unreadable=str(error))
    values = {key: headers.get(key) for key in TASK_HEADERS}
    told = {key: None if value is None else str(value) for key, value in values.items()}
    return replace(message, task=told["task"], task_id=told["id"], eta=told["eta"])


def _hundreds(refs: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(refs), MAX_PEEK):
        yield refs[start : start + MAX_PEEK]
