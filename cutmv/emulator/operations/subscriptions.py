"""The work of the calls for event subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from cutmv.emulator import schema
from cutmv.emulator.model import Json
from cutmv.emulator.operations.call import MOST_PER_PAGE, PER_PAGE, Call, Page
from cutmv.emulator.store import Store

#: The keys by which a list of event subscriptions may be sorted.
_SUBSCRIPTION_ORDERS: Mapping[str, Callable[[Json], Any]] = {
    "created_at": itemgetter("created_at"),
    "name": itemgetter("name"),
    "enabled": itemgetter("enabled"),
    "source": lambda shown: shown["source"]["type"],
}


def list_subscriptions(call: Call, store: Store) -> Page:
    """Show a page of the event subscriptions."""
    number = schema.page(call.query, "page", 1, 1 << 31)
    per_page = schema.page(call.query, "per_page", PER_PAGE, MOST_PER_PAGE)
    order = call.query.get("order", "created_at")
    shown = [each.as_json() for each in store.registry.subscriptions()]
    if order in _SUBSCRIPTION_ORDERS:
        shown.sort(key=_SUBSCRIPTION_ORDERS[order], reverse=call.query.get("direction") == "desc")
    first = (number - 1) * per_page
    return Page(shown[first : first + per_page], number, per_page, len(shown))


def create_subscription(call: Call, store: Store) -> Json:
    """Add a subscription."""
    return store.registry.create_subscription(schema.subscription(call.body, whole=True)).as_json()


def get_subscription(call: Call, store: Store) -> Json:
    """Show a subscription."""
    return store.registry.subscription(call.path["subscription_id"]).as_json()


def update_subscription(call: Call, store: Store) -> Json:
    """Change a subscription."""
    changes = schema.subscription(call.body, whole=False)
    return store.registry.update_subscription(call.path["subscription_id"], changes).as_json()


def delete_subscription(call: Call, store: Store) -> Json:
    """Remove a subscription, and show it."""
    return store.registry.delete_subscription(call.path["subscription_id"]).as_json()
