"""What is said on the connection to the hub: operations in JSON, many to a frame (docs/edge.md)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare.queues import Binding

logger = logging.getLogger(__name__)

#: Bytes of a frame that is taken, and of one that is sent: the hub takes 1 MiB.
MAX_FRAME, MAX_SENT = 8 * 1024 * 1024, 1_000_000

#: Bytes of a frame that has one message, but for its text: keys are of 255 bytes at most.
FRAME_OVERHEAD = 10_000

Op = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HubMessage:
    """A message for temporary queues of this process, as it was published."""

    queues: tuple[str, ...]
    text: str


def fits(text: str) -> bool:
    """Tell whether the hub takes a message of this text, as it is written in a frame."""
    return len(json.dumps(text)) + FRAME_OVERHEAD <= MAX_SENT


def bind_op(binding: Binding) -> Op:
    """Return the operation that binds a queue of this client."""
    return {
        "op": "bind",
        "exchange": binding.exchange,
        "kind": binding.type,
        "key": binding.key,
        "queue": binding.queue,
    }


def publish_op(exchange: str, exchange_type: str, key: str, text: str) -> Op:
    """Return the operation that publishes a message to the other clients."""
    # What is for this process has been delivered within it.
    address = {"exchange": exchange, "kind": exchange_type, "key": key}
    return {"op": "publish", **address, "text": text, "skip_self": True}


def frames(messages: Iterable[tuple[str, str, str, str]]) -> Iterator[list[str]]:
    """Gather messages (exchange, its type, key, text) into frames that the hub takes.

    One that is too large for a frame is dropped, with a warning.
    """
    frame: list[str] = []
    size = 0
    for message in messages:
        if not fits(message[3]):
            logger.warning("cloudflare: a message too large for the hub is dropped")
            continue
        op = json.dumps(publish_op(*message))
        if frame and size + len(op) >= MAX_SENT:
            yield frame
            frame, size = [], 0
        frame.append(op)
        size += len(op) + 1
    if frame:
        yield frame
