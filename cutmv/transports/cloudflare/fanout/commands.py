"""Celery's commands that need not be sent to every worker each time.

A command costs a metered call for each worker. Two kinds of them would cost much for nothing:

- Flower says ``enable_events`` every five seconds, and each receiver of events asks for a
  ``heartbeat``. A control queue that has just been told so is not told again.
- A worker that starts asks all others for the tasks that were revoked (``hello``, mingle). They all
  know the same, so a few are asked.
"""

from __future__ import annotations

import json
import random
import time

from cutmv.transports.cloudflare.messages import BroadcastMessage
from cutmv.transports.cloudflare.queues import TemporaryBinding

#: Commands that change nothing when they are said again.
SAID_AGAIN = ("enable_events", "heartbeat")

#: The command of a worker that starts, and how many workers it asks at most.
HELLO, HELLO_MOST = "hello", 3

#: The property of a command that holds its sender's bindings, by the names of their binding queues.
BINDINGS = "cloudflare_bindings"

Targets = dict[TemporaryBinding, str]


class Commands:
    """Chooses whom a command is sent to. Threads share it."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], float] = {}  # when, by what and to which binding queue

    def says_again(self, message: BroadcastMessage) -> bool:
        """Return whether a message is a command that changes nothing when it is said again."""
        return _read(message)[0] in SAID_AGAIN

    def recipients(
        self, message: BroadcastMessage, targets: Targets, repeat_after: float
    ) -> Targets:
        """Return those of `targets` that a message has to be sent to.

        What changes nothing is said again to the same control queue after `repeat_after` seconds.
        """
        method, what = _read(message)
        if method == HELLO and len(targets) > HELLO_MOST:
            return dict(random.sample(list(targets.items()), HELLO_MOST))
        if method not in SAID_AGAIN:
            return targets
        now = time.monotonic()
        self._said = {key: at for key, at in [*self._said.items()] if now - at < repeat_after}
        return {each: id_ for each, id_ in targets.items() if (what, id_) not in self._said}

    def said(self, message: BroadcastMessage, queue_id: str) -> None:
        """Note that a control queue, by its binding queue, got a message."""
        method, what = _read(message)
        if method in SAID_AGAIN:
            self._said[what, queue_id] = time.monotonic()


def _read(message: BroadcastMessage) -> tuple[object, str]:
    """Return a command's method, and all that it says; none for a message that is no command."""
    if message.type != "fanout":
        return None, ""
    try:
        text = json.loads(message.text)
        method = json.loads(text["body"])["method"]
        return method, f"{text['body']} {text['properties'].get(BINDINGS)}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, ""
