"""Decides a queue's consumer, its dead-letter queue, and how long it keeps messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cutmv.transports.cloudflare.errors import QueueMissing
from cutmv.transports.cloudflare.options import VISIBILITY_TIMEOUT, Options
from cutmv.transports.cloudflare.queues import names
from cutmv.transports.cloudflare.queues.bindings import TemporaryBinding

#: Deliveries after the first that Cloudflare allows at most.
MAX_RETRIES = 100

#: Seconds for which Cloudflare keeps a message, unless a queue's settings say otherwise.
RETENTION = 4 * 86_400

#: Seconds for which a dead letter is kept: 14 days, Cloudflare's most, so that an operator has time
#: to notice it.
DEAD_LETTER_RETENTION = 1_209_600

#: Seconds for which the binding queue of a temporary queue keeps messages, so that a process which
#: starts to read the temporary queue later still gets them.
BINDING_RETENTION = 3600

#: The same where the temporary queue expires unread, at least and at most (Cloudflare's limits).
#: Remote control's queues expire within seconds: a worker that was away for longer would only act
#: on stale commands.
BINDING_RETENTION_MIN, BINDING_RETENTION_MAX = 60, 1_209_600


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of the account. `consumer` is ``http_pull``, ``worker``, or none yet.

    `dead_letter_queue` is the Cloudflare name of its dead-letter queue, and empty where it has
    none; `max_retries` is how often a message is delivered again before it becomes a dead letter,
    if that is known. `retention` is how many seconds a message may stay. `script` is the name of
    the Worker that consumes the queue, if that is known. Nobody gets messages of one that is
    `paused`.
    """

    name: str
    queue_id: str
    consumer: str | None
    dead_letter_queue: str = ""
    max_retries: int | None = None
    retention: int = RETENTION
    script: str = ""
    paused: bool = False

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Queue:
        """Return the queue that the API's ``Queue`` describes."""
        settings = result.get("settings") or {}
        retention = int(settings.get("message_retention_period") or RETENTION)
        paused = settings.get("delivery_paused") is True
        names = result["queue_name"], result["queue_id"]
        queue = cls(*names, None, retention=retention, paused=paused)
        return queue.consumed(result.get("consumers") or ())

    def consumed(self, consumers: Iterable[Mapping[str, Any]]) -> Queue:
        """Return the queue with the settings of the one of its ``Consumer``s that is kept."""
        kept = kept_consumer(consumers)
        if kept is None:
            return self
        retries = (kept.get("settings") or {}).get("max_retries")
        return replace(
            self,
            consumer=str(kept.get("type") or "worker"),
            dead_letter_queue=str(kept.get("dead_letter_queue") or ""),
            max_retries=None if retries is None else int(retries),
            script=str(kept.get("script_name") or kept.get("script") or ""),
        )


def kept_consumer(consumers: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the one of a queue's consumers that counts, if it has any.

    A pull consumer goes before a Worker, and the oldest before those that other processes made at
    the same time, so that all processes choose the same one.
    """
    return min(
        consumers,
        key=lambda each: (
            each.get("type") != "http_pull",
            str(each.get("created_on") or ""),
            str(each.get("consumer_id") or ""),
        ),
        default=None,
    )


def pull_consumer(
    queue_name: str, options: Options, *, takes_dead_letters: bool = False
) -> dict[str, Any]:
    """Return the pull consumer that a queue gets, as the API takes it.

    A binding queue has no dead-letter queue. Nor has a dead-letter queue, since that one would need
    another; so it allows as many deliveries as possible, since a pull to inspect counts as one.
    """
    final = takes_dead_letters or TemporaryBinding.read(queue_name) is not None
    pattern = "" if final else options.dead_letter_queue
    consumer: dict[str, Any] = {
        "type": "http_pull",
        "settings": {
            "batch_size": 100,
            "max_retries": MAX_RETRIES if takes_dead_letters else options.queue_max_retries,
            "visibility_timeout_ms": int((options.visibility_timeout or VISIBILITY_TIMEOUT) * 1000),
        },
    }
    if pattern:
        consumer["dead_letter_queue"] = names.dead_letter_name(queue_name, pattern)
    return consumer


def binding_retention(expires: float | None) -> int:
    """Return the seconds for which a binding queue keeps messages.

    `expires` is after how many seconds without a reader its temporary queue is deleted; none for
    never.
    """
    if expires is None:
        return BINDING_RETENTION
    return int(min(max(expires, BINDING_RETENTION_MIN), BINDING_RETENTION_MAX))


def missing(queue_name: str, why: str = "") -> QueueMissing:
    """Return the error for a queue that does not exist, with the commands that create it."""
    return QueueMissing(
        f"Cloudflare queue {queue_name!r} does not exist{f' ({why})' if why else ''}; "
        f"create it: npx wrangler queues create {queue_name} && "
        f"npx wrangler queues consumer http add {queue_name}"
    )


def consumed_by_worker(queue: Queue) -> QueueMissing:
    """Return the error for a queue that can't be pulled from, since a Worker consumes it."""
    worker = f"the Worker {queue.script!r}" if queue.script else "a Worker"
    return QueueMissing(
        f"Cloudflare queue {queue.name!r} is consumed by {worker}, so nothing can be pulled from "
        f"it: set the transport option consume to 'push' (or name the queue no longer in "
        f"pulled_queues), or remove that consumer: npx wrangler queues consumer worker remove "
        f"{queue.name} {queue.script or 'SCRIPT'}"
    )


def not_pushed(queue: Queue) -> QueueMissing:
    """Return the error for a queue that no Worker can push from, since it has a pull consumer."""
    return QueueMissing(
        f"Cloudflare queue {queue.name!r} has a pull consumer, so no Worker can push from "
        f"it; remove that consumer: npx wrangler queues consumer http remove {queue.name}"
    )


def without_pull_consumer(queue_name: str, why: str = "") -> QueueMissing:
    """Return the error for a queue that can't be pulled from, with the command that mends it."""
    return QueueMissing(
        f"Cloudflare queue {queue_name!r} "
        f"{f'got no pull consumer ({why})' if why else 'has no pull consumer'}; add one: "
        f"npx wrangler queues consumer http add {queue_name}"
    )
