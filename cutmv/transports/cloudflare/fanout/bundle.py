"""Many messages to one temporary queue as a single message of Cloudflare's.

Events are many, small and alike: packed together they take a twentieth of their calls and bytes.
The text of a bundle is a JSON object whose only key holds the texts, as a compressed JSON list.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from cutmv.transports.cloudflare.messages.limits import MAX_MESSAGE, size

#: Messages in a bundle, and characters of their texts together, at most.
MAX_MESSAGES, MAX_CHARACTERS = 1_000, 2_000_000

#: Bytes of a bundle's texts that are read at most; four for each character, and those of the list.
MAX_READ = 4 * MAX_CHARACTERS + 100_000

_KEY = "bundle"


def pack(texts: Sequence[str]) -> tuple[str, int]:
    """Return a message for the first of `texts`, and for how many of them it is; 1 at least.

    A text alone is its own message, of whatever size.
    """
    count = characters = 0
    for text in texts[:MAX_MESSAGES]:
        characters += len(text)
        # One that alone is too large is left to `claim_check`.
        if size(text) > MAX_MESSAGE or characters > MAX_CHARACTERS:
            break
        count += 1
    while count > 1:
        listed = json.dumps(texts[:count], separators=(",", ":"), ensure_ascii=False)
        packed = base64.b64encode(zlib.compress(listed.encode(errors="surrogatepass"))).decode()
        bundle = json.dumps({_KEY: packed})
        if size(bundle) <= MAX_MESSAGE:
            return bundle, count
        count //= 2
    return texts[0], 1


def unpack(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries for the messages in one entry of a pull's response; itself if no bundle.

    Raises `ValueError` for a malformed bundle.
    """
    body = entry["body"]
    if not isinstance(body, str) or not body.startswith(f'{{"{_KEY}":'):
        return [dict(entry)]
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.b64decode(json.loads(body)[_KEY], validate=True), MAX_READ)
        texts = json.loads(data.decode(errors="surrogatepass"))
    except (ValueError, TypeError, KeyError, zlib.error, binascii.Error, RecursionError):
        raise ValueError("it is a malformed bundle") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it is a malformed bundle")
    return [{**entry, "body": text} for text in texts]
