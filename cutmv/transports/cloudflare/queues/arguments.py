"""The arguments with which queues, consumers and exchanges are declared, by RabbitMQ's names.

Cloudflare has no such settings, so this process keeps those that it can. Any other is named once in
the log, and has no effect.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cutmv.transports.cloudflare.errors import ConfigurationError

logger = logging.getLogger(__name__)

#: Arguments that choose how RabbitMQ stores a queue; here Cloudflare does.
_STORAGE = frozenset(
    {
        "x-ha-policy",
        "x-queue-leader-locator",
        "x-queue-master-locator",
        "x-queue-mode",
        "x-queue-type",
        "x-queue-version",
        "x-quorum-initial-group-size",
    }
)

#: What kombu's keyword arguments are called in RabbitMQ, and by what they are multiplied.
_KEYWORDS = {
    "expires": ("x-expires", 1000),
    "message_ttl": ("x-message-ttl", 1000),
    "max_length": ("x-max-length", 1),
    "max_length_bytes": ("x-max-length-bytes", 1),
    "max_priority": ("x-max-priority", 1),
}

_KEEPS_ALL = "Cloudflare keeps every message; a message_ttl ends those that wait for too long"
_DEAD_LETTERS = "the transport option dead_letter_queue names its dead-letter queue"

#: Why an argument has no effect on a durable queue, and what to do instead.
_WHY = {
    "x-expires": "it stays until it is deleted; declare it auto_delete if it is to go by itself",
    "x-max-length": _KEEPS_ALL,
    "x-max-length-bytes": _KEEPS_ALL,
    "x-overflow": _KEEPS_ALL,
    "x-dead-letter-exchange": _DEAD_LETTERS,
    "x-dead-letter-routing-key": _DEAD_LETTERS,
    "x-dead-letter-strategy": _DEAD_LETTERS,
    "x-delivery-limit": "the transport option queue_max_retries is the limit",
    "x-single-active-consumer": "its consumers share its messages; run one, with a prefetch of 1",
}

#: The same for a temporary queue, whose messages are in its process's memory.
_WHY_TEMPORARY = {
    "x-max-length-bytes": "x-max-length is kept",
    "x-overflow": "the oldest messages make room",
    "x-dead-letter-exchange": "a temporary queue has no dead letters",
    "x-dead-letter-routing-key": "a temporary queue has no dead letters",
    "x-single-active-consumer": _WHY["x-single-active-consumer"],
}

#: Why an argument of a consumer, or of an exchange, has no effect.
_WHY_OTHERWISE = {
    "x-priority": "all consumers of a queue are equal; run more of those that are to get more",
    "exclusive": "others can't be kept from a queue; declare it exclusive if it is one process's",
    "alternate-exchange": "what no queue is bound to is dropped; publish with mandatory to know",
}


@dataclass(frozen=True, slots=True)
class QueueArguments:
    """The arguments of a queue that are kept.

    Attributes:
        expires: After how many seconds without a reader a temporary queue is deleted.
        message_ttl: For how many seconds a message may wait in the queue.
        max_length: How many messages a temporary queue holds; the oldest make room.
    """

    expires: float | None = None
    message_ttl: float | None = None
    max_length: int | None = None

    @classmethod
    def read(cls, arguments: Mapping[str, Any] | None) -> Self:
        """Return what RabbitMQ's arguments say; raises `ConfigurationError` for one that is none.

        Seconds are in milliseconds there.
        """
        arguments = arguments or {}
        ttl, expires = (_number(arguments, key) for key in ("x-message-ttl", "x-expires"))
        length = _number(arguments, "x-max-length")
        return cls(
            expires=None if not expires else expires / 1000,
            message_ttl=None if ttl is None else ttl / 1000,
            max_length=None if length is None else int(length),
        )


def named(arguments: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue's arguments by RabbitMQ's names, with those of kombu's keywords added."""
    added = {
        name: int(value * scale)
        for keyword, (name, scale) in _KEYWORDS.items()
        if (value := keywords.get(keyword)) is not None
    }
    return {**(arguments or {}), **added}


def tell_without_effect(
    queue: str,
    arguments: Mapping[str, Any] | None,
    *,
    temporary: bool,
    has_levels: bool,
    told: set[str],
) -> None:
    """Log a line for each argument that has no effect on a queue, unless `told` has its name."""
    for name in arguments or {}:
        kept = {"x-message-ttl", *_STORAGE, *(("x-expires", "x-max-length") if temporary else ())}
        if name in kept or (name == "x-max-priority" and (temporary or has_levels)):
            continue
        if name == "x-max-priority":
            why = (
                "without the transport option priority_steps only messages of one pull are in the "
                "order of their priorities"
            )
        else:
            why = (_WHY_TEMPORARY if temporary else _WHY).get(name, "it is not known here")
        tell(told, f"queue {queue!r}", f"argument {name}", why)


def tell_otherwise(told: set[str], of: str, arguments: Mapping[str, Any] | None) -> None:
    """Log a line for each argument `of` a consumer or an exchange, unless `told` has its name."""
    for name in arguments or {}:
        why = _WHY_OTHERWISE.get(name, "it is not known here")
        tell(told, of, f"argument {name}", why)


def tell(told: set[str], of: str, name: str, why: str) -> None:
    """Log that what somebody asked for by `name` has no effect, unless `told` has that name."""
    if name not in told:
        told.add(name)
        logger.warning("cloudflare: %s: %s has no effect: %s", of, name, why)


def _number(arguments: Mapping[str, Any], name: str) -> float | None:
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigurationError(
            f"cloudflare transport: queue argument {name} must be a number that is not negative, "
            f"not {value!r}"
        )
    return float(value)
