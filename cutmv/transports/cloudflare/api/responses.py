"""Reads the documents with which the Queues API answers, and raises an error for a malformed one.

JSON that does not answer the call, of a broken release, say, is a `ServerFault`: the call is
retried as in an outage. Only a pull accepts the well-formed part of a response that is partly
malformed, since the messages left out are leased, and come back by themselves.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare.api.listing import Document, QueuePage
from cutmv.transports.cloudflare.errors import ServerFault

logger = logging.getLogger(__name__)

#: The largest number accepted in a response: no time or count is larger.
NUMBER_MAX = 2**53

#: A whole number as text.
_DIGITS = re.compile(r"[0-9]{1,15}")

#: A queue's id, which becomes part of addresses.
_QUEUE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Roughly what a queue holds: messages, bytes, and when the oldest came (s since 1970)."""

    count: int
    size: int
    oldest: float | None


@dataclass(frozen=True, slots=True)
class Pulled:
    """The messages of a pull, and roughly how many the queue held, if the response says so."""

    messages: list[Document]
    backlog: int | None


def nothing(document: Document) -> None:
    """Read the response to a call of which only the success counts."""
    if not isinstance(document.get("result"), dict | None):
        raise _wrong("its result is no object")


def token_id(document: Document) -> str:
    """Read the id of the API token."""
    if _is_name(found := _object(document).get("id")):
        return str(found)
    raise _wrong("it names no token")


def queues(document: Document) -> QueuePage:
    """Read a page of queues; raise for a malformed queue, since its binding would be missing."""
    info = document.get("result_info")
    if not isinstance(info, dict | None):
        raise _wrong("its result_info is no object")
    told = {name: (info or {}).get(name) for name in ("total_pages", "total_count")}
    return QueuePage(
        [_checked_queue(each) for each in _items(document)],
        **{name: int(value) for name, value in told.items() if value and is_number(value)},
    )


def queue(document: Document) -> Document:
    """Read the queue that the call created."""
    return _checked_queue(_object(document))


def consumers(document: Document) -> list[Document]:
    """Read a queue's consumers."""
    return [_checked_consumer(each) for each in _items(document)]


def consumer_id(document: Document) -> str | None:
    """Read the id of the consumer that the call created, if the response has it."""
    nothing(document)
    found = (document.get("result") or {}).get("consumer_id")
    return found if _is_name(found) else None


def backlog(document: Document) -> Backlog:
    """Read a queue's metrics. The count must be there, since an empty queue may be deleted."""
    metrics = _object(document)
    size, oldest = metrics.get("backlog_bytes"), metrics.get("oldest_message_timestamp_ms")
    if not (is_number(metrics.get("backlog_count")) and is_number(size, oldest, none=True)):
        raise _wrong("its metrics are no numbers")
    return Backlog(int(metrics["backlog_count"]), int(size or 0), (oldest or 0) / 1000 or None)


def pulled(document: Document) -> Pulled:
    """Read the messages of a pull, without malformed ones; raise where all are malformed."""
    entries = _messages(document)
    # By lease: a message that comes twice under one lease is one delivery.
    whole = {
        entry["lease_id"]: _tidied(entry) for entry in entries if _is_message(entry, "lease_id")
    }
    malformed = sum(not _is_message(entry, "lease_id") for entry in entries)
    if entries and not whole:
        raise _wrong("none of its messages is one")
    if malformed:
        logger.warning(
            "cloudflare: %d of %d messages of a pull are malformed, and left out; they come back "
            "when their lease ends",
            malformed,
            len(entries),
        )
    left = _number(_object(document).get("message_backlog_count"))
    return Pulled(list(whole.values()), None if left is None else int(left))


def _tidied(entry: Document) -> Document:
    """Return a message's entry, with numbers where text tells them."""
    numbers = {name: _number(entry.get(name)) for name in ("attempts", "timestamp_ms")}
    return {**entry, **{name: value for name, value in numbers.items() if value is not None}}


def peeked(document: Document) -> list[Document]:
    """Read the messages of a peek; raise where one is malformed, since a peek can be repeated."""
    entries = _messages(document)
    if not all(
        _is_message(entry, "ref") and is_number(entry.get("timestamp_ms"), none=True)
        for entry in entries
    ):
        raise _wrong("a message of it is none")
    return entries


def warnings(document: Document) -> dict[str, str]:
    """Read the warnings of a call that ended leases, or removed messages."""
    found = _object(document).get("warnings")
    if isinstance(found, list | None):  # of no lease in particular
        return {str(number): str(warning) for number, warning in enumerate(found or ())}
    if not isinstance(found, dict):
        raise _wrong("its warnings are no object")
    return {handle: str(warning) for handle, warning in found.items()}


def _wrong(what: str) -> ServerFault:
    return ServerFault(f"Cloudflare's answer is none to the call: {what}", status=200)


def _object(document: Document) -> Document:
    result = document.get("result")
    if not isinstance(result, dict):
        raise _wrong("its result is no object")
    return result


def _items(document: Document) -> Sequence[Any]:
    """Return the items of a list result; a result of null is an empty list."""
    result = document.get("result")
    if not isinstance(result, list | None):
        raise _wrong("its result is no list")
    return result or ()


def _messages(document: Document) -> list[Any]:
    found = _object(document).get("messages")
    if not isinstance(found, list | None):
        raise _wrong("its messages are no list")
    return found or []


def _is_message(entry: Any, handle: str) -> bool:
    """Return whether an entry has the keys and types that its readers rely on.

    An entry without them must not count as an unreadable message, which is moved or removed for
    good.
    """
    return (
        isinstance(entry, dict)
        and all(_is_name(entry.get(key)) for key in ("id", handle))
        and isinstance(entry.get("body"), str)
        and isinstance(entry.get("metadata"), dict | None)
        and (entry.get("attempts") is None or _number(entry["attempts"]) is not None)
    )


def _checked_queue(found: Any) -> Document:
    if not (
        isinstance(found, dict)
        and isinstance(queue_id := found.get("queue_id"), str)
        and _QUEUE_ID.fullmatch(queue_id)
        and _is_name(found.get("queue_name"))
        and _holds_number(found.get("settings"), "message_retention_period")
        and isinstance(among := found.get("consumers"), list | None)
    ):
        raise _wrong("a queue of it is none")
    for each in among or ():
        _checked_consumer(each)
    return found


def _checked_consumer(found: Any) -> Document:
    if not (
        isinstance(found, dict)
        and all(
            isinstance(found.get(key), str | None)
            for key in ("type", "consumer_id", "created_on", "script_name", "script")
        )
        and isinstance(found.get("dead_letter_queue"), str | None)
        and _holds_number(found.get("settings"), "max_retries")
    ):
        raise _wrong("a consumer of it is none")
    return found


def _holds_number(settings: Any, key: str) -> bool:
    """Return whether `settings` is null, or an object in which `key` is a number or missing."""
    if not isinstance(settings, dict):
        return settings is None
    return is_number(settings.get(key), none=True)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _number(value: Any) -> float | None:
    """Return a number that may be told as text; none for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if is_number(value) else None


def is_number(*values: Any, none: bool = False) -> bool:
    """Return whether values are numbers up to `NUMBER_MAX`; with `none`, null passes, too."""
    return all(
        (none and value is None)
        or (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and -NUMBER_MAX <= value <= NUMBER_MAX
        )
        for value in values
    )
