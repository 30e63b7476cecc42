"""The keys of the objects that the transport stores, all below the prefix of the store's URL."""

from __future__ import annotations

import hashlib
import re
from uuid import uuid4

#: The prefix of the objects of large messages; a bucket's lifecycle rule for it touches no others.
LARGE_MESSAGES = "large-messages/"

#: The prefix of lease records, with a lifecycle rule of its own.
LEASES = "leases/"

_LARGE_MESSAGE = re.compile(LARGE_MESSAGES + "[0-9a-f]{32}")


def new_large_message_key() -> str:
    """Return a key for one publish of a large message: a message to three queues gets three."""
    return LARGE_MESSAGES + uuid4().hex


def is_large_message_key(key: str) -> bool:
    """Return whether `new_large_message_key` may have made `key`."""
    return _LARGE_MESSAGE.fullmatch(key) is not None


def lease_key(identity: str) -> str:
    """Return the key of a message's lease record: short and safe, whatever the identity holds."""
    return LEASES + _digest(identity)


def request_key(request_id: str) -> str:
    """Return the key that is there once the signed request of this id was accepted."""
    return f"{LEASES}requests/{_digest(request_id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:40]
