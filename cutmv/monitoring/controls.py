"""What operators do to queues, workers and dead letters. Each raises as the broker does."""

from collections.abc import Sequence
from typing import Any

from cutmv.app import app
from cutmv.config import Settings
from cutmv.monitoring.workers import answer_s
from cutmv.transports.cloudflare import admin
from cutmv.worker import CONSUME


class UnknownQueue(Exception):
    """The deployment has no such queue; one line for people."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no queue {name!r} here.")


def pause(settings: Settings, queue: str) -> None:
    """Have no worker get a queue's messages; what runs goes on.

    Cloudflare keeps that; over Redis it is told to the workers that run now. Raises UnknownQueue.
    """
    _deliver(settings, queue, on=False)


def resume(settings: Settings, queue: str) -> None:
    """Have workers get a queue's messages again. Raises UnknownQueue."""
    _deliver(settings, queue, on=True)


def drain(settings: Settings, worker: str) -> None:
    """Have a worker take no more tasks; it finishes those that it has."""
    _consume(settings, settings.queue_names, on=False, worker=worker)


def refill(settings: Settings, worker: str) -> None:
    """Have a worker take tasks again."""
    _consume(settings, settings.queue_names, on=True, worker=worker)


def replay(settings: Settings, queue: str, task_ids: Sequence[str] = ()) -> int:
    """Move dead letters back to where they came from; all, or those of some tasks.

    `queue` is the dead-letter queue's name. Returns how many were moved. Raises UnknownQueue.
    """
    source = _source(settings, queue)
    with admin.session_of(app) as session:
        found = admin.find(session, source)
        return admin.replay_dead_letters(session, found, None, task_ids).moved


def delete(settings: Settings, queue: str, ref: str) -> bool:
    """Delete a dead letter for good, by its ref; tells whether it was there.

    Raises UnknownQueue.
    """
    _source(settings, queue)
    with admin.session_of(app) as session:
        done = admin.remove(session, admin.find(session, queue), [ref], ())
        return not done.missing


def _source(settings: Settings, dead_letters: str) -> str:
    """The queue whose dead letters a queue has."""
    sources = dict(zip(settings.dead_letter_queue_names, settings.queue_names, strict=False))
    if dead_letters not in sources:
        raise UnknownQueue(dead_letters)
    return sources[dead_letters]


def _deliver(settings: Settings, queue: str, *, on: bool) -> None:
    if queue not in settings.queue_names or settings.mode == "eager":
        raise UnknownQueue(queue)
    if settings.mode == "cloudflare":
        with admin.session_of(app) as session:
            admin.pause(session, admin.find(session, queue), not on)
    else:
        _consume(settings, [queue], on=on)


def _consume(
    settings: Settings, queues: Sequence[str], *, on: bool, worker: str | None = None
) -> None:
    to: dict[str, Any] = {} if worker is None else {"destination": [worker]}
    app.control.broadcast(
        CONSUME,
        arguments={"names": list(queues), "on": on},
        reply=True,
        timeout=answer_s(settings),
        limit=1 if worker else None,
        **to,
    )
