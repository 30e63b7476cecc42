"""A kombu message as the text of a Cloudflare message, and back.

The text is one JSON object: kombu's own keys (``body``, ``headers``, ``properties``,
``content-type``, ``content-encoding``) and ``id``, which the publisher gives once and keeps
through its retries, so that a consumer can tell two copies of one publish from two messages
(`identity`). Headers and properties come through as they were published. A body of text stays text;
only bytes are written as base64. A body that is compressed because it would not fit (`compressed`)
is decompressed here, before anybody sees it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from kombu import compression
from kombu.utils import json as kombu_json

from cutmv.transports.cloudflare.messages import unpacking
from cutmv.transports.cloudflare.messages.limits import MAX_DECOMPRESSED

#: The key of a message that was published anew while a consumer had it.
HELD_KEY = "held"

#: The key of a message that the transport has compressed: what it has changed for that.
COMPRESSED_KEY = "compressed"

#: An id of ours (kombu's `uuid`). What others write under ``id`` need not be one of its kind.
_OUR_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Undecodable(ValueError):
    """A message's text is not an envelope; the error's text says why."""


def encode(message: Mapping[str, Any]) -> str:
    """Write kombu's `message` as text, of whatever size; `claim_check` makes it fit."""
    text = str(kombu_json.dumps(message, separators=(",", ":"), ensure_ascii=False))
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can carry
        text = str(kombu_json.dumps(message, separators=(",", ":")))
    return text


def compressed(message: Mapping[str, Any], codec: str) -> str | None:
    """Return a message's text with its body compressed by a codec of kombu's.

    A process of an older version takes it for a message that its publisher had kombu compress.
    None where the publisher has compressed it, or it would be too large to decompress.
    """
    headers, properties = message["headers"], message["properties"]
    if headers.get("compression"):
        return None
    encoding = properties.get("body_encoding")
    try:
        is_base64 = encoding == "base64"
        plain = base64.b64decode(message["body"]) if is_base64 else message["body"].encode()
    except UnicodeEncodeError:
        return None
    if len(plain) > MAX_DECOMPRESSED:
        return None
    data, name = compression.compress(plain, codec)
    before = {"body_encoding": encoding, **_picked(headers, "compression")}
    return encode(
        {
            **message,
            "body": base64.b64encode(data).decode(),
            "headers": {**headers, "compression": name},
            "properties": {**properties, "body_encoding": "base64"},
            COMPRESSED_KEY: before,
        }
    )


def _picked(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: mapping[key]} if key in mapping else {}


def _decompress(message: dict[str, Any]) -> None:
    """Undo `compressed`, if need be; raises `Undecodable`, also for a body that grows too large."""
    before = message.pop(COMPRESSED_KEY, None)
    if before is None:
        return
    try:
        kind = message["headers"].pop("compression")
        data = base64.b64decode(message["body"], validate=True)
        plain = b"".join(unpacking.pieces(kind, data, MAX_DECOMPRESSED))
        encoding = message["properties"]["body_encoding"] = before["body_encoding"]
        is_base64 = encoding == "base64"
        message["body"] = (base64.b64encode(plain) if is_base64 else plain).decode()
        message["headers"].update(_picked(before, "compression"))
    except (KeyError, TypeError, AttributeError, MemoryError) as error:
        raise Undecodable(f"it can't be decompressed: {error}") from None
    except ValueError as error:  # of base64, of UTF-8, and of what does not unpack
        raise Undecodable(f"its body {error}") from None


def text_of(pulled: Mapping[str, Any]) -> str:
    """Return the text of one entry of a pull's response, as it was published.

    Raises `Undecodable`.
    """
    text = pulled["body"]
    if (pulled.get("metadata") or {}).get("CF-Content-Type") in ("json", "bytes"):
        # Cloudflare delivers these as base64. The transport publishes `text`; a Worker may not.
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Undecodable("it is not text") from None
    return str(text)


def mark_held(text: str) -> str:
    """Return `text` marked as a message that a consumer may hold already (see `leases.renewer`)."""
    return str(kombu_json.dumps({**json.loads(text), HELD_KEY: True}, separators=(",", ":")))


def publish_id(message: Mapping[str, Any]) -> str | None:
    """Return the id that the transport gave a message's publish; none where others published it."""
    given = message.get("id")
    return given if isinstance(given, str) and _OUR_ID.fullmatch(given) else None


def identity(queue_name: str, pulled: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    """Return what a message is known by: its queue, and an id that users neither see nor set.

    A publish to two queues makes two messages, and the copy of a message that waits on is the same
    message. One that others put into the queue is known by the id that Cloudflare gave it.
    """
    ours = publish_id(message)
    return f"{queue_name}/{ours}" if ours else f"{queue_name}/cloudflare:{pulled['id']}"


def decode(pulled: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kombu message of one entry of a pull's response.

    ``properties.delivery_tag`` becomes the lease id. ``delivery_info.delivery_count`` becomes the
    number of deliveries, this one included, and ``delivery_info.redelivered`` whether somebody may
    have been given the message before. ``properties.message_id`` stays the user's; without one it
    becomes the publish's id, or Cloudflare's.

    Raises `Undecodable`.
    """
    try:
        text = text_of(pulled)
        # kombu's reader is slower: it calls a function for each object, for types that JSON lacks.
        message = kombu_json.loads(text) if '"__type__"' in text else json.loads(text)
    except Undecodable:
        raise
    except Exception:  # kombu's reader raises whatever its types' constructors do
        raise Undecodable("it is not JSON") from None
    if not isinstance(message, dict) or "body" not in message:
        raise Undecodable("it is no kombu message")
    properties = message.setdefault("properties", {})
    headers = message["headers"] = message.get("headers") or {}
    if not isinstance(properties, dict) or not isinstance(headers, dict):
        raise Undecodable("its headers or properties are no objects")
    delivery_info = properties.setdefault("delivery_info", {})
    if not isinstance(delivery_info, dict):
        raise Undecodable("its delivery_info is no object")
    _decompress(message)
    attempts = int(pulled.get("attempts") or 1)
    delivery_info["delivery_count"] = attempts
    delivery_info["redelivered"] = attempts > 1 or bool(message.get(HELD_KEY))
    properties.setdefault("message_id", publish_id(message) or pulled["id"])
    properties["delivery_tag"] = pulled["lease_id"]
    return message


def probe(token: str) -> str:
    """Return the text of a message that only tests whether a process reads a temporary queue."""
    return json.dumps({"probe": token})


def probed(pulled: Mapping[str, Any]) -> str | None:
    """Return the token of a `probe`; none for any other message."""
    try:
        message = json.loads(pulled["body"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    token = message.get("probe") if isinstance(message, dict) else None
    return token if isinstance(token, str) and len(message) == 1 else None


def task_sent(event: Mapping[str, Any]) -> str:
    """Return the task's id that Celery's event `event` is about; empty where it can't be read."""
    try:
        body = json.loads(event["body"])
    except (ValueError, TypeError):
        return ""  # written by another serializer
    return str(body.get("uuid", "")) if isinstance(body, dict) else ""


def encode_body(body: Any, content_encoding: str | None) -> tuple[str, str]:
    """Return `body` as text, and the name of its encoding: ``utf-8`` or ``base64``."""
    if isinstance(body, str):
        return body, "utf-8"
    if isinstance(body, bytes | bytearray | memoryview):
        data = bytes(body)
        if (content_encoding or "").lower() == "utf-8":
            try:
                return data.decode(), "utf-8"
            except UnicodeDecodeError:
                pass  # a compressed body, for which kombu still names the text's encoding
        return base64.b64encode(data).decode(), "base64"
    return json.dumps(body), "utf-8"
