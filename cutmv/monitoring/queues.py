"""What the queues of a deployment hold, asked of its broker."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cutmv.app import PUBLISHED_AT, app
from cutmv.config import Settings
from cutmv.transports.cloudflare import admin

#: Dead letters of a queue that are told of.
MAX_DEAD = 20


@dataclass(frozen=True)
class DeadLetter:
    """A message that no worker could take: `age_s` is for how many seconds it is one."""

    task: str | None
    task_id: str | None
    age_s: float | None
    why: str
    ref: str


@dataclass(frozen=True)
class QueueSeen:
    """A queue: about how many messages it holds, and the age (s) of the oldest, where known.

    `paused` is None where the broker knows no such thing; `dead` are the first of a dead-letter
    queue's.
    """

    name: str
    messages: int
    oldest_s: float | None = None
    is_dead_letters: bool = False
    paused: bool | None = None
    dead: Sequence[DeadLetter] = ()


def look_at_queues(settings: Settings) -> Sequence[QueueSeen]:
    """The queues, the dead-letter queues last; none without a broker. Raises as the broker does."""
    match settings.mode:
        case "cloudflare":
            return _of_cloudflare(settings)
        case "redis":
            return _of_redis(settings)
    return ()


def _of_redis(settings: Settings) -> list[QueueSeen]:
    found = []
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        client = channel.client
        for name in settings.queue_names:
            oldest = client.lindex(name, -1)  # messages come in on the left
            found.append(QueueSeen(name, client.llen(name), oldest and _age_s(oldest)))
    return found


def _age_s(message: str | bytes) -> float | None:
    """Seconds since a message was published; None where it does not say."""
    try:
        return max(0.0, time.time() - float(json.loads(message)["headers"][PUBLISHED_AT]))
    except (ValueError, TypeError, KeyError):
        return None


def _of_cloudflare(settings: Settings) -> list[QueueSeen]:
    dead = settings.dead_letter_queue_names
    with admin.session_of(app) as session:
        found = admin.overviews(session, False, [*settings.queue_names, *dead])
        letters = {
            listed.queue.name: [_dead_letter(each, listed) for each in listed.messages]
            for overview in found
            if overview.name in dead and overview.backlog.count
            for source in session.directory.all
            if source.dead_letter_queue == overview.queue.name
            for listed in admin.dead_letters(session, source, MAX_DEAD)
        }
    now = time.time()
    seen = {
        str(each.name): QueueSeen(
            str(each.name),
            each.backlog.count,
            None if each.backlog.oldest is None else max(0.0, now - each.backlog.oldest),
            each.name in dead,
            each.queue.paused,
            letters.get(each.queue.name, ()),
        )
        for each in found
    }
    # One that nobody has made yet holds nothing.
    return [seen.get(each, QueueSeen(each, 0)) for each in settings.queue_names] + [
        seen[each] for each in dead if each in seen
    ]


def _dead_letter(message: admin.Waiting, listed: admin.DeadLetterListing) -> DeadLetter:
    age_s = None if message.sent is None else max(0.0, time.time() - message.sent)
    why = admin.why_dead(message, listed.source)
    return DeadLetter(message.task, message.task_id, age_s, why, message.ref)
