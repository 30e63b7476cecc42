"""The limits that Cloudflare and the edge Worker set for a message and for a publishing call.

The limits are Cloudflare's (https://developers.cloudflare.com/queues/platform/limits/), whose KB is
1,000 bytes. Those that the edge Worker shares are in `edge/src/limits.ts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

#: Bytes of one message at most.
MAX_MESSAGE = 128_000

#: Bytes that a compressed message may have when it is decompressed; larger ones are not compressed,
#: and one that others made larger is unreadable.
MAX_DECOMPRESSED = 128 * MAX_MESSAGE

#: Bytes of metadata that Cloudflare adds to a message and counts.
METADATA = 100

#: Bytes of the messages of one publishing call at most, metadata included.
MAX_BATCH = 256_000

#: Messages of one publishing call at most.
MAX_CALL = 100

#: Seconds for which Cloudflare delays a message at most.
MAX_DELAY = 43_200

#: Seconds that a pushed task may take, by its hard time limit: Cloudflare ends a Worker that waits
#: for it after 15 minutes, and the edge Worker gives up half a minute before that.
MAX_PUSHED = 870.0

T = TypeVar("T")


def size(text: str) -> int:
    """Return the bytes that Cloudflare counts for a message of this text."""
    return len(text.encode()) + METADATA


def in_calls(
    messages: Iterable[T], size_of: Callable[[T], int], most: int = MAX_CALL
) -> Iterator[list[T]]:
    """Split messages, in their order, into lists that fit one publishing call each.

    `size_of` returns a message's bytes, metadata included; `most` is how many messages a call may
    have.
    """
    call: list[T] = []
    total = 0
    for message in messages:
        more = size_of(message)
        if call and (len(call) == most or total + more > MAX_BATCH):
            yield call
            call, total = [], 0
        call.append(message)
        total += more
    if call:
        yield call
