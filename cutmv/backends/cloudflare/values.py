"""How a result's bytes are written in an operation: as text, in base64, or as an object's name."""

from __future__ import annotations

import base64
import re

from kombu.utils.encoding import ensure_bytes

#: Bytes of a result up to which it is part of an operation: in base64, MAX_VALUE at the Worker.
SMALL = 190_000

#: Bytes of a result at most: the Worker holds it in its memory.
LARGEST = 16 * 1024 * 1024

#: The first character of a value says how it is written.
TEXT, BASE64, LARGE = "t", "b", "r"

#: What JSON writes in six characters each, or no text may hold.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def write(payload: bytes | str) -> str:
    """Return the value of a small payload."""
    data: bytes = ensure_bytes(payload)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _CONTROLS.search(text):
        return BASE64 + base64.b64encode(data).decode()
    return TEXT + text


def read(value: str) -> bytes:
    """Return the payload of a small value."""
    if value.startswith(BASE64):
        return base64.b64decode(value[1:])
    return value[1:].encode()
