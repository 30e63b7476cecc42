"""Turns a request's JSON into the model, or raises an `ApiError` that says what does not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cutmv.emulator import errors
from cutmv.emulator.errors import ApiError
from cutmv.emulator.model import (
    HTTP_PULL_DEFAULTS,
    MAX_BATCH_BYTES,
    MAX_BATCH_COUNT,
    MAX_CONCURRENCY,
    MAX_DELAY,
    MAX_MESSAGE_BYTES,
    MAX_RETENTION,
    MAX_RETRIES,
    MAX_VISIBILITY_MS,
    MAX_WAIT_MS,
    MIN_RETENTION,
    WORKER_DEFAULTS,
    ConsumerSpec,
    Json,
    NewMessage,
    QueueSettings,
    Retry,
)

#: https://developers.cloudflare.com/queues/reference/ : letters, digits and inner dashes.
_QUEUE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

#: A Worker's name.
_SCRIPT_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")

_JURISDICTIONS = ("eu", "us", "fedramp")
#: The content types that the REST API takes; only a Worker's producer binding sends `bytes` and
#: `v8`.
_CONTENT_TYPES = ("text", "json")

#: Inclusive bounds of a consumer's settings, by name.
_CONSUMER_BOUNDS: Mapping[str, tuple[int, int]] = {
    "batch_size": (1, MAX_BATCH_COUNT),
    "max_concurrency": (1, MAX_CONCURRENCY),
    "max_retries": (0, MAX_RETRIES),
    "max_wait_time_ms": (0, MAX_WAIT_MS),
    "retry_delay": (0, MAX_DELAY),
    "visibility_timeout_ms": (0, MAX_VISIBILITY_MS),
}

#: Digits of a page's number that are read; no account has enough pages for more.
_PAGE_DIGITS = 9

#: The fields of an event subscription, and the type of each.
_SUBSCRIPTION_FIELDS: Mapping[str, type] = {
    "name": str,
    "enabled": bool,
    "events": list,
    "destination": dict,
    "source": dict,
}

#: The actions of which R2 can tell.
_ACTIONS = (
    "PutObject",
    "CopyObject",
    "CompleteMultipartUpload",
    "DeleteObject",
    "LifecycleDeletion",
)

_Refusal = Callable[[str], ApiError]


def parse(raw: bytes) -> Mapping[str, Json]:
    """Return a request's body as a JSON object; an empty body is an empty object."""
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise errors.not_json() from None
    return _object(document, "the body")


def queue_name(document: Mapping[str, Json]) -> str:
    """Return `queue_name`, which must be there and be well-formed."""
    name = document.get("queue_name")
    if not isinstance(name, str) or not _QUEUE_NAME.fullmatch(name):
        raise errors.bad_queue_name(str(name))
    return name


def jurisdiction(document: Mapping[str, Json]) -> str | None:
    """Return `jurisdiction`, one of Cloudflare's, or None when it is not given."""
    value = document.get("jurisdiction")
    if value is not None and value not in _JURISDICTIONS:
        raise errors.bad_schema(f"jurisdiction {value!r} is none of {', '.join(_JURISDICTIONS)}")
    return value


def queue_settings(document: Mapping[str, Json], base: QueueSettings) -> QueueSettings:
    """Return `base` with the changes that `settings` names."""
    given = _object(document.get("settings") or {}, "settings")
    paused = given.get("delivery_paused", base.delivery_paused)
    if not isinstance(paused, bool):
        raise errors.bad_queue_settings("delivery_paused is not true or false")
    refusal = errors.bad_queue_settings
    delay = _integer(given, "delivery_delay", 0, MAX_DELAY, refusal)
    kept = _integer(given, "message_retention_period", MIN_RETENTION, MAX_RETENTION, refusal)
    return replace(
        base,
        delivery_delay=base.delivery_delay if delay is None else delay,
        delivery_paused=paused,
        message_retention_period=base.message_retention_period if kept is None else kept,
    )


def consumer(document: Mapping[str, Json]) -> ConsumerSpec:
    """Return a consumer of either type, with its type's defaults filled in."""
    kind = document.get("type")
    if kind not in ("http_pull", "worker"):
        raise errors.bad_schema(f"consumer type {kind!r} is neither 'http_pull' nor 'worker'")
    script = document.get("script_name", "")
    if kind == "worker" and not (isinstance(script, str) and _SCRIPT_NAME.fullmatch(script)):
        raise errors.bad_schema("a worker consumer needs the script_name of a Worker")
    given = _object(document.get("settings") or {}, "settings")
    settings = dict(HTTP_PULL_DEFAULTS if kind == "http_pull" else WORKER_DEFAULTS)
    for name in settings:
        value = _integer(given, name, *_CONSUMER_BOUNDS[name], errors.bad_consumer_settings)
        if value is not None:
            settings[name] = value
    dead_letters = document.get("dead_letter_queue") or ""
    if dead_letters:
        queue_name({"queue_name": dead_letters})
    return ConsumerSpec(kind, settings, dead_letters, script if kind == "worker" else "")


def message(document: Mapping[str, Json], batch_delay: int | None = None) -> NewMessage:
    """Return one message to push; without a delay of its own it has its batch's (seconds).

    Without a `content_type` it is JSON, as it is for a Worker's `send()`.
    """
    content_type = document.get("content_type", "json")
    if content_type not in _CONTENT_TYPES:
        raise errors.bad_metadata(f"content_type {content_type!r} is neither 'text' nor 'json'")
    delay = _integer(document, "delay_seconds", 0, MAX_DELAY, errors.bad_metadata)
    if "body" not in document:
        raise errors.bad_schema("a message has no body")
    body = document["body"]
    if content_type == "json":
        body = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    elif not isinstance(body, str):
        raise errors.bad_schema("the body of a text message is not a string")
    # JSON may hold a lone surrogate, which no text can.
    encoded = body.encode("utf-8", "replace")
    made = NewMessage(encoded, content_type, batch_delay if delay is None else delay)
    if made.charged_bytes > MAX_MESSAGE_BYTES:
        raise errors.message_too_large(made.charged_bytes, MAX_MESSAGE_BYTES)
    return made


def batch(document: Mapping[str, Json]) -> tuple[NewMessage, ...]:
    """Return the messages of one batch push."""
    delay = _integer(document, "delay_seconds", 0, MAX_DELAY, errors.bad_batch_delay)
    documents = _array(document, "messages")
    if not 1 <= len(documents) <= MAX_BATCH_COUNT:
        raise errors.bad_batch_count(len(documents), MAX_BATCH_COUNT)
    messages = tuple(message(_object(each, "a message"), delay) for each in documents)
    size = sum(each.charged_bytes for each in messages)
    if size > MAX_BATCH_BYTES:
        raise errors.batch_too_large(size, MAX_BATCH_BYTES)
    return messages


def batch_size(document: Mapping[str, Json]) -> int | None:
    """Return how many messages a pull or a peek asks for at most; None for the default."""
    return _integer(document, "batch_size", 1, MAX_BATCH_COUNT, errors.bad_schema)


def visibility_timeout_ms(document: Mapping[str, Json]) -> int | None:
    """Return how long a pull leases its messages; None for the consumer's setting."""
    return _integer(document, "visibility_timeout_ms", 0, MAX_VISIBILITY_MS, errors.bad_schema)


def acks(document: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the lease ids to acknowledge."""
    return tuple(_text(each, "lease_id", "an element of acks") for each in _array(document, "acks"))


def retries(document: Mapping[str, Json]) -> tuple[Retry, ...]:
    """Return the leases to give back."""
    return tuple(
        Retry(
            _text(each, "lease_id", "an element of retries"),
            _integer(each, "delay_seconds", 0, MAX_DELAY, errors.bad_metadata),
        )
        for each in _array(document, "retries")
    )


def refs(document: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the refs of the peeked messages to remove."""
    if "refs" not in document:
        raise errors.bad_schema("refs is missing")
    return tuple(_text(each, "ref", "an element of refs") for each in _array(document, "refs"))


def purge_is_confirmed(document: Mapping[str, Json]) -> None:
    """Refuse a purge whose request does not confirm that it can't be undone."""
    if document.get("delete_messages_permanently") is not True:
        raise errors.bad_schema("delete_messages_permanently must be true")


def subscription(document: Mapping[str, Json], *, whole: bool) -> Mapping[str, Json]:
    """Return the fields of an event subscription; a `whole` one has them all, a change some."""
    given = {name: document[name] for name in _SUBSCRIPTION_FIELDS if name in document}
    if whole:
        given = {"enabled": True, **given}
        if missing := [name for name in _SUBSCRIPTION_FIELDS if name not in given]:
            raise errors.bad_schema(f"{missing[0]} is missing")
    for name, value in given.items():
        if not isinstance(value, _SUBSCRIPTION_FIELDS[name]):
            raise errors.bad_schema(f"{name} is {value!r}")
    if "destination" in given:
        _text(given["destination"], "queue_id", "destination")
    if "source" in given:
        _text(given["source"], "type", "source")
    return given


def notification_rules(document: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    """Return rules of R2's event notifications, each with all of its fields."""
    found = []
    for each in _array(document, "rules"):
        rule = _object(each, "a rule")
        actions = _array(rule, "actions")
        if not actions or not all(action in _ACTIONS for action in actions):
            raise errors.bad_schema(f"actions are {actions!r}")
        texts = {name: rule.get(name, "") for name in ("prefix", "suffix", "description")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise errors.bad_schema("a rule's prefix, suffix or description is no text")
        found.append({"actions": actions, **texts})
    return found


def page(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Return a page's number or size from a query string, kept within 1 and `most`."""
    given = query.get(name, "")
    if not given.isdecimal():
        return default
    return min(max(int(given[:_PAGE_DIGITS]), 1), most)


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python's parser takes, but which are no JSON."""
    raise ValueError(name)


def _object(value: Json, what: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise errors.bad_schema(f"{what} is not an object")
    return value


def _array(document: Mapping[str, Json], name: str) -> Sequence[Json]:
    value = document.get(name, [])
    if not isinstance(value, list):
        raise errors.bad_schema(f"{name} is not an array")
    return value


def _text(value: Json, name: str, where: str) -> str:
    found = _object(value, where).get(name)
    if not isinstance(found, str):
        raise errors.bad_schema(f"{where} has no {name}")
    return found


def _integer(
    document: Mapping[str, Json], name: str, low: int, high: int, refusal: _Refusal
) -> int | None:
    """Return a whole number within bounds; None when absent or null. JSON may write 5 as 5.0."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise refusal(f"{name} is not a whole number")
    if not low <= value <= high:
        raise refusal(f"{name} is {value}: want {low} to {high}")
    return int(value)
