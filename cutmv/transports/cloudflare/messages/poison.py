"""Finds what a message's reader would choke on, before it is given the message.

kombu and Celery take for granted that another kombu wrote a message. What anybody else may put into
a queue (by the API, by a Worker) must neither end a consumer nor stay with it for ever.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kombu import compression

from cutmv.transports.cloudflare.messages import unpacking
from cutmv.transports.cloudflare.messages.envelope import Undecodable

#: Bytes that a compressed body may unpack to.
MAX_UNPACKED = 256_000_000

#: The types of a task's headers, and of what its body embeds; each may be missing, or none.
_TASK: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "shadow", "root_id", "parent_id", "group"), str),
    **dict.fromkeys(("argsrepr", "kwargsrepr", "origin", "lang"), str),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), int),
    "stamps": dict,
}
_EMBEDDED: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("callbacks", "errbacks", "chain"), (list, tuple)),
    "chord": dict,
}

#: Encodings that kombu leaves as bytes.
_BINARY = frozenset({"binary", "ascii-8bit"})


def check(message: Mapping[str, Any]) -> None:
    """Raise `Undecodable` if kombu could not make a message of this; of no task in particular."""
    body, headers = message["body"], message["headers"]
    if not isinstance(body, str):
        raise Undecodable("its body is not text")
    kind = message.get("content-type")
    if kind is not None and not isinstance(kind, str):
        raise Undecodable("its content-type is not text")
    _check_encoding(message.get("content-encoding"))
    data = _data(body, message["properties"].get("body_encoding"))
    packed = headers.get("compression")
    if packed:
        _check_packed(packed, data)


def check_task(headers: Mapping[str, Any], payload: Any) -> None:
    """Raise `Undecodable` if a worker would choke on this task after it has accepted it.

    What Celery refuses by itself when it receives a task is not looked at. `payload` is the decoded
    body.
    """
    if "task" not in headers:  # the task message protocol 1: all is in the body
        if isinstance(payload, dict):
            _check_types(payload, _TASK)
            _check_limits(payload.get("timelimit"))
        return
    _check_types(headers, _TASK)
    _check_limits(headers.get("timelimit"))
    if isinstance(payload, list | tuple) and len(payload) == 3:
        embedded = payload[2] or {}
        if not isinstance(embedded, dict):
            raise Undecodable("what its body embeds is no object")
        _check_types(embedded, _EMBEDDED)


def _check_types(part: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> None:
    for name, kind in types.items():
        value = part.get(name)
        if value is not None and not isinstance(value, kind):
            raise Undecodable(f"its {name} is a {type(value).__name__}")


def _check_limits(limits: Any) -> None:
    if limits and not (isinstance(limits, list | tuple) and len(limits) == 2):
        raise Undecodable("its timelimit is no pair")
    if not all(limit is None or _is_number(limit) for limit in limits or ()):
        raise Undecodable("its timelimit is no pair of numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_encoding(name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise Undecodable("its content-encoding is not text")
    if name and not _is_encoding(name):
        raise Undecodable(f"its content-encoding {name[:40]!r} is none of text")


@lru_cache(maxsize=64)
def _is_encoding(name: str) -> bool:
    """Return whether `name` is what Python calls a text encoding, or what kombu calls bytes."""
    if name.lower() in _BINARY:
        return True
    try:
        b"".decode(name)
    except (LookupError, ValueError):
        return False
    return True


def _data(body: str, encoding: Any) -> bytes:
    try:
        if not encoding or (isinstance(encoding, str) and encoding.lower() == "utf-8"):
            return body.encode()
        if encoding == "base64":
            return base64.b64decode(body)
    except ValueError:
        raise Undecodable(f"its body is not {encoding or 'utf-8'}") from None
    raise Undecodable(f"its body_encoding {str(encoding)[:40]!r} is unknown")


def _check_packed(name: Any, data: bytes) -> None:
    """Unpack a body piece by piece, so that none takes more memory than a worker has."""
    try:
        aliases: dict[str, str] = compression._aliases  # type: ignore[attr-defined]
        kind = aliases.get(name, name)
        compression.get_decoder(kind)
    except (KeyError, TypeError):
        raise Undecodable(f"its compression {str(name)[:40]!r} is unknown here") from None
    if not unpacking.is_known(kind):
        return
    try:
        for _ in unpacking.pieces(kind, data, MAX_UNPACKED):
            pass
    except ValueError as error:
        raise Undecodable(f"its body {error}") from None
