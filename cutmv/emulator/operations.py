"""The work of each call of the API, and the table of its routes.

An operation runs on the store inside a transaction, and returns the response's `result`; it may
raise the `ApiError` with which the call is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from starlette.datastructures import QueryParams

from cutmv.emulator import errors, schema
from cutmv.emulator.faults import Faults, Verdict
from cutmv.emulator.model import Json, Queue, QueueSettings, iso
from cutmv.emulator.stats import Stats
from cutmv.emulator.store import Store

#: Queues of one page, unless the caller asks for fewer or more.
_PER_PAGE, _MOST_PER_PAGE = 100, 1000
#: Messages that a peek shows when the request names no number.
_PEEK_SIZE = 5

#: The keys by which a list of event subscriptions may be sorted.
_SUBSCRIPTION_ORDERS: Mapping[str, Callable[[Json], Any]] = {
    "created_at": itemgetter("created_at"),
    "name": itemgetter("name"),
    "enabled": itemgetter("enabled"),
    "source": lambda shown: shown["source"]["type"],
}

_QUEUE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Call:
    """One request that has been read and admitted."""

    path: Mapping[str, str]
    query: QueryParams
    body: Mapping[str, Json]
    verdict: Verdict
    faults: Faults
    stats: Stats

    @property
    def queue_id(self) -> str:
        """The path's queue id. Error: 10107."""
        queue_id = self.path["queue_id"]
        if not _QUEUE_ID.fullmatch(queue_id):
            raise errors.malformed_queue_id(queue_id)
        return queue_id


@dataclass(frozen=True)
class Page:
    """A result that is a page of a longer list."""

    items: Sequence[Json]
    number: int
    per_page: int
    total: int

    def info(self) -> Json:
        """Return the response's `result_info`."""
        return {
            "count": len(self.items),
            "page": self.number,
            "per_page": self.per_page,
            "total_count": self.total,
            "total_pages": -(-self.total // self.per_page),
        }


# --- queues


def _list_queues(call: Call, store: Store) -> Page:
    number = schema.page(call.query, "page", 1, 1 << 31)
    per_page = schema.page(call.query, "per_page", _PER_PAGE, _MOST_PER_PAGE)
    names = call.query.getlist("name")  # the dashboard and wrangler send it; the SDK has no filter
    queues = store.registry.queues(limit=per_page, offset=(number - 1) * per_page, names=names)
    total = store.registry.count_queues(names)
    return Page([each.as_json() for each in queues], number, per_page, total)


def _create_queue(call: Call, store: Store) -> Json:
    name, jurisdiction = schema.queue_name(call.body), schema.jurisdiction(call.body)
    settings = schema.queue_settings(call.body, QueueSettings())
    return store.registry.create_queue(name, jurisdiction, settings).as_json()


def _get_queue(call: Call, store: Store) -> Json:
    return store.registry.queue(call.queue_id).as_json()


def _update_queue(call: Call, store: Store) -> Json:
    """Overwrite a queue's settings (PUT): those not named go back to their defaults."""
    return _set_queue(call, store, store.registry.queue(call.queue_id), QueueSettings())


def _edit_queue(call: Call, store: Store) -> Json:
    """Change only the named settings of a queue (PATCH)."""
    queue = store.registry.queue(call.queue_id)
    return _set_queue(call, store, queue, queue.settings)


def _set_queue(call: Call, store: Store, queue: Queue, base: QueueSettings) -> Json:
    name = schema.queue_name(call.body) if "queue_name" in call.body else queue.queue_name
    settings = schema.queue_settings(call.body, base)
    return store.registry.update_queue(queue.queue_id, name, settings).as_json()


def _delete_queue(call: Call, store: Store) -> Json:
    store.registry.delete_queue(call.queue_id)


def _metrics(call: Call, store: Store) -> Json:
    return store.messages.metrics(call.queue_id).as_json()


def _purge(call: Call, store: Store) -> Json:
    schema.purge_is_confirmed(call.body)
    return store.messages.purge_queue(call.queue_id).as_json()


def _purge_status(call: Call, store: Store) -> Json:
    purged_ms = store.registry.queue(call.queue_id).purged_ms
    if purged_ms is None:
        return {"completed": "", "started_at": ""}
    return {"completed": "true", "started_at": iso(purged_ms)}


# --- consumers


def _list_consumers(call: Call, store: Store) -> Page:
    consumer = store.registry.queue(call.queue_id).consumer
    items = [consumer.as_json()] if consumer else []
    return Page(items, 1, _PER_PAGE, len(items))


def _create_consumer(call: Call, store: Store) -> Json:
    return store.registry.create_consumer(call.queue_id, schema.consumer(call.body)).as_json()


def _get_consumer(call: Call, store: Store) -> Json:
    return store.registry.consumer(call.queue_id, call.path["consumer_id"]).as_json()


def _update_consumer(call: Call, store: Store) -> Json:
    spec = schema.consumer(call.body)
    return store.registry.update_consumer(call.queue_id, call.path["consumer_id"], spec).as_json()


def _delete_consumer(call: Call, store: Store) -> Json:
    store.registry.delete_consumer(call.queue_id, call.path["consumer_id"])


# --- messages


def _publish(call: Call, store: Store) -> Json:
    messages = [schema.message(call.body)]
    metrics = store.messages.push(call.queue_id, messages)
    call.stats.pushed(messages)
    return {"metadata": {"metrics": metrics.as_json()}}


def _batch(call: Call, store: Store) -> Json:
    messages = schema.batch(call.body)
    metrics = store.messages.push(call.queue_id, messages)
    call.stats.pushed(messages)
    return {"metadata": {"metrics": metrics.as_json()}}


def _pull(call: Call, store: Store) -> Json:
    messages = store.messages.pull(
        call.queue_id,
        batch_size=schema.batch_size(call.body),
        visibility_ms=schema.visibility_timeout_ms(call.body),
        shuffle=call.verdict.shuffle,
    )
    originals = [each.message_id for each in messages if not each.is_copy]
    store.messages.copy(call.queue_id, call.faults.duplicates(originals))
    call.stats.delivered(messages)
    metrics = store.messages.metrics(call.queue_id)
    return {
        "message_backlog_count": metrics.count,
        "messages": [each.as_json("lease_id") for each in messages],
        "metadata": {"metrics": metrics.as_json()},
    }


def _ack(call: Call, store: Store) -> Json:
    acks, retries = schema.acks(call.body), schema.retries(call.body)
    done = store.messages.acknowledge(call.queue_id, acks, retries)
    call.stats.settled(done)
    return done.as_json()


def _peek(call: Call, store: Store) -> Json:
    size = schema.batch_size(call.body)
    messages = store.messages.peek(call.queue_id, _PEEK_SIZE if size is None else size)
    return {"messages": [each.as_json("ref") for each in messages]}


def _purge_refs(call: Call, store: Store) -> Json:
    warnings = store.messages.remove(call.queue_id, schema.refs(call.body))
    return {"errors": [], "warnings": warnings}


# --- event subscriptions


def _list_subscriptions(call: Call, store: Store) -> Page:
    number = schema.page(call.query, "page", 1, 1 << 31)
    per_page = schema.page(call.query, "per_page", _PER_PAGE, _MOST_PER_PAGE)
    order = call.query.get("order", "created_at")
    shown = [each.as_json() for each in store.registry.subscriptions()]
    if order in _SUBSCRIPTION_ORDERS:
        shown.sort(key=_SUBSCRIPTION_ORDERS[order], reverse=call.query.get("direction") == "desc")
    first = (number - 1) * per_page
    return Page(shown[first : first + per_page], number, per_page, len(shown))


def _create_subscription(call: Call, store: Store) -> Json:
    return store.registry.create_subscription(schema.subscription(call.body, whole=True)).as_json()


def _get_subscription(call: Call, store: Store) -> Json:
    return store.registry.subscription(call.path["subscription_id"]).as_json()


def _update_subscription(call: Call, store: Store) -> Json:
    changes = schema.subscription(call.body, whole=False)
    return store.registry.update_subscription(call.path["subscription_id"], changes).as_json()


def _delete_subscription(call: Call, store: Store) -> Json:
    return store.registry.delete_subscription(call.path["subscription_id"]).as_json()


#: A call's work on the store, which returns the response's `result`.
Operation = Callable[[Call, Store], Any]

_QUEUES = "/accounts/{account_id}/queues"
_QUEUE = _QUEUES + "/{queue_id}"
_CONSUMERS = _QUEUE + "/consumers"
_CONSUMER = _CONSUMERS + "/{consumer_id}"
_MESSAGES = _QUEUE + "/messages"
_SUBSCRIPTIONS = "/accounts/{account_id}/event_subscriptions/subscriptions"

#: By path, then by method: the route's name, which fault rules and statistics use, and its work.
ROUTES: Mapping[str, Mapping[str, tuple[str, Operation]]] = {
    _QUEUES: {"GET": ("list", _list_queues), "POST": ("create", _create_queue)},
    _QUEUE: {
        "GET": ("get", _get_queue),
        "PUT": ("update", _update_queue),
        "PATCH": ("edit", _edit_queue),
        "DELETE": ("delete", _delete_queue),
    },
    _QUEUE + "/metrics": {"GET": ("metrics", _metrics)},
    _QUEUE + "/purge": {"POST": ("purge", _purge), "GET": ("purge_status", _purge_status)},
    _CONSUMERS: {
        "GET": ("list_consumers", _list_consumers),
        "POST": ("create_consumer", _create_consumer),
    },
    _CONSUMER: {
        "GET": ("get_consumer", _get_consumer),
        "PUT": ("update_consumer", _update_consumer),
        "DELETE": ("delete_consumer", _delete_consumer),
    },
    _MESSAGES: {"POST": ("publish", _publish)},
    _MESSAGES + "/batch": {"POST": ("batch", _batch)},
    _MESSAGES + "/pull": {"POST": ("pull", _pull)},
    _MESSAGES + "/ack": {"POST": ("ack", _ack)},
    _MESSAGES + "/peek": {"POST": ("peek", _peek)},
    _MESSAGES + "/purge": {"POST": ("purge_refs", _purge_refs)},
    _SUBSCRIPTIONS: {
        "GET": ("list_subscriptions", _list_subscriptions),
        "POST": ("create_subscription", _create_subscription),
    },
    _SUBSCRIPTIONS + "/{subscription_id}": {
        "GET": ("get_subscription", _get_subscription),
        "PATCH": ("update_subscription", _update_subscription),
        "DELETE": ("delete_subscription", _delete_subscription),
    },
}

ROUTE_NAMES = frozenset(name for methods in ROUTES.values() for name, _ in methods.values())
