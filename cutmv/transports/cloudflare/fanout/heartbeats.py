"""Celery's heartbeats as messages: whose they are, and how often the next ones come.

A worker's heartbeat says by its field ``freq`` how many seconds later the next one follows. Who
listens (gossip, Flower, `celery events`) takes a worker for dead after twice that time. So where
heartbeats are sent more rarely than the worker makes them, their ``freq`` must say so.
"""

from __future__ import annotations

import json

from cutmv.transports.cloudflare.messages import BroadcastMessage

#: Routing keys of heartbeats, and of all events that workers send of themselves.
HEARTBEAT, WORKER_EVENT = "worker.heartbeat", "worker."

#: Seconds between a worker's heartbeats, as Celery has it.
USUAL_INTERVAL = 2.0

#: Routing key of the last event of a worker.
OFFLINE = "worker.offline"


def hostname(message: BroadcastMessage) -> str | None:
    """Return the name of the worker that a worker's event tells of; none for other messages.

    None also where the event can't be read, since its ``freq`` can't be changed then.
    """
    if not message.routing_key.startswith(WORKER_EVENT):
        return None
    try:
        name = json.loads(json.loads(message.text)["body"])["hostname"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def with_interval(text: str, seconds: float) -> str:
    """Return an event's text with a ``freq`` of `seconds` at least, if it has one."""
    try:
        message = json.loads(text)
        event = json.loads(message["body"])
        if event["freq"] >= seconds:
            return text
        event["freq"] = round(seconds, 1)
    except (ValueError, TypeError, KeyError, RecursionError):
        return text
    message["body"] = json.dumps(event)
    return json.dumps(message, separators=(",", ":"))
