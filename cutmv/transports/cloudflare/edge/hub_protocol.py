"""The protocol of the connection to the hub: JSON operations, several to a frame (docs/edge.md)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import Binding

logger = logging.getLogger(__name__)

#: Bytes of a frame from the hub at most, and of a frame to it: the hub accepts 1 MiB.
MAX_FRAME, MAX_SENT = 8 * 1024 * 1024, 1_000_000

#: Bytes of a frame with one message, its text aside: keys have 255 bytes at most.
FRAME_OVERHEAD = 10_000

Op = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HubMessage:
    """A message for temporary queues of this process, as it was published."""

    queues: tuple[str, ...]
    text: str


def fits(text: str) -> bool:
    """Return whether the hub accepts a message of this text, as it is written in a frame."""
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


def publish_op(message: BroadcastMessage) -> Op:
    """Return the operation that publishes a message to the other clients."""
    return {
        "op": "publish",
        "exchange": message.exchange,
        "kind": message.type,
        "key": message.routing_key,
        "text": message.text,
        # This process has delivered the message to its own queues already.
        "skip_self": True,
    }


def frames(messages: Iterable[BroadcastMessage]) -> Iterator[list[str]]:
    """Gather messages into frames that the hub accepts.

    A message that is too large for a frame is dropped, with a warning.
    """
    frame: list[str] = []
    size = 0
    for message in messages:
        if not fits(message.text):
            logger.warning("cloudflare: a message too large for the hub is dropped")
            continue
        op = json.dumps(publish_op(message))
        if frame and size + len(op) >= MAX_SENT:
            yield frame
            frame, size = [], 0
        frame.append(op)
        size += len(op) + 1
    if frame:
        yield frame


class PublishOutcome:
    """The hub's response to one publish; `routed` is none where the connection ended before."""

    def __init__(self, ref: int) -> None:
        self.ref = ref
        self.ready = threading.Event()
        self.routed: int | None = None
