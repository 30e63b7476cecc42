"""The table of the API's routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cutmv.emulator.operations import messages, notifications, queues, subscriptions
from cutmv.emulator.operations.call import Call
from cutmv.emulator.store import Store

#: A call's work on the store, which returns the response's `result`.
Operation = Callable[[Call, Store], Any]

#: The id of every token that the emulator takes.
TOKEN_ID = "e" * 32


def verify(_call: Call, _store: Store) -> dict[str, str]:
    """Tell of the token by which the call was made."""
    return {"id": TOKEN_ID, "status": "active"}


_QUEUES = "/accounts/{account_id}/queues"
_QUEUE = _QUEUES + "/{queue_id}"
_CONSUMERS = _QUEUE + "/consumers"
_CONSUMER = _CONSUMERS + "/{consumer_id}"
_MESSAGES = _QUEUE + "/messages"
_NOTIFICATIONS = "/accounts/{account_id}/event_notifications/r2/{bucket_name}/configuration"
_SUBSCRIPTIONS = "/accounts/{account_id}/event_subscriptions/subscriptions"

#: By path, then by method: the route's name, which fault rules and statistics use, and its work.
ROUTES: Mapping[str, Mapping[str, tuple[str, Operation]]] = {
    _QUEUES: {"GET": ("list", queues.list_queues), "POST": ("create", queues.create_queue)},
    _QUEUE: {
        "GET": ("get", queues.get_queue),
        "PUT": ("update", queues.update_queue),
        "PATCH": ("edit", queues.edit_queue),
        "DELETE": ("delete", queues.delete_queue),
    },
    _QUEUE + "/metrics": {"GET": ("metrics", queues.metrics)},
    _QUEUE + "/purge": {
        "POST": ("purge", queues.purge),
        "GET": ("purge_status", queues.purge_status),
    },
    _CONSUMERS: {
        "GET": ("list_consumers", queues.list_consumers),
        "POST": ("create_consumer", queues.create_consumer),
    },
    _CONSUMER: {
        "GET": ("get_consumer", queues.get_consumer),
        "PUT": ("update_consumer", queues.update_consumer),
        "DELETE": ("delete_consumer", queues.delete_consumer),
    },
    _MESSAGES: {"POST": ("publish", messages.publish)},
    _MESSAGES + "/batch": {"POST": ("batch", messages.batch)},
    _MESSAGES + "/pull": {"POST": ("pull", messages.pull)},
    _MESSAGES + "/ack": {"POST": ("ack", messages.ack)},
    _MESSAGES + "/peek": {"POST": ("peek", messages.peek)},
    _MESSAGES + "/purge": {"POST": ("purge_refs", messages.purge_refs)},
    _SUBSCRIPTIONS: {
        "GET": ("list_subscriptions", subscriptions.list_subscriptions),
        "POST": ("create_subscription", subscriptions.create_subscription),
    },
    _SUBSCRIPTIONS + "/{subscription_id}": {
        "GET": ("get_subscription", subscriptions.get_subscription),
        "PATCH": ("update_subscription", subscriptions.update_subscription),
        "DELETE": ("delete_subscription", subscriptions.delete_subscription),
    },
    _NOTIFICATIONS: {"GET": ("list_notifications", notifications.list_notifications)},
    _NOTIFICATIONS + "/queues/{queue_id}": {
        "GET": ("get_notifications", notifications.get_notifications),
        "PUT": ("put_notifications", notifications.put_notifications),
        "DELETE": ("delete_notifications", notifications.delete_notifications),
    },
    "/user/tokens/verify": {"GET": ("verify", verify)},
}

ROUTE_NAMES = frozenset(name for methods in ROUTES.values() for name, _ in methods.values())
