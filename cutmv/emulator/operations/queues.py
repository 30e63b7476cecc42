"""The work of the calls for queues and their consumers."""

from __future__ import annotations

from cutmv.emulator import errors, schema
from cutmv.emulator.model import Json, Queue, QueueSettings, iso
from cutmv.emulator.operations.call import MOST_PER_PAGE, PER_PAGE, Call, Page
from cutmv.emulator.store import Store


def list_queues(call: Call, store: Store) -> Page:
    """Show a page of the queues."""
    beliefs = call.beliefs
    number = schema.page(call.query, "page", 1, 1 << 31)
    per_page = schema.page(call.query, "per_page", PER_PAGE, MOST_PER_PAGE)
    per_page = min(per_page, beliefs.page_size)
    names = call.query.getlist("name")  # the dashboard and wrangler send it; the SDK has no filter
    if names and beliefs.name_filter == "refused":
        raise errors.bad_schema("there is no filter 'name'")
    if beliefs.name_filter == "ignored":
        names = []
    elif names and beliefs.name_filter == "partial":
        known = [
            each.queue_name for each in store.registry.queues(limit=1 << 31, offset=0, names=[])
        ]
        names = [each for each in known if any(name in each for name in names)] or [""]
    elif names and beliefs.name_filter == "blind":
        names = [""]
    offset = 0 if beliefs.pages_repeat else (number - 1) * per_page
    queues = store.registry.queues(limit=per_page, offset=offset, names=names)
    total = store.registry.count_queues(names)
    shown = [_queue_json(call, each) for each in queues]
    return Page(shown, number, per_page, total, beliefs.total_pages)


def _queue_json(call: Call, queue: Queue) -> Json:
    shown = queue.as_json()
    if call.beliefs.handles == "odd":
        given = queue.queue_id.upper()
        shown["queue_id"] = "-".join((given[:8], given[8:12], given[12:16], given[16:]))
    return shown


def create_queue(call: Call, store: Store) -> Json:
    """Create a queue."""
    name, jurisdiction = schema.queue_name(call.body), schema.jurisdiction(call.body)
    settings = schema.queue_settings(call.body, QueueSettings())
    return _queue_json(call, store.registry.create_queue(name, jurisdiction, settings))


def get_queue(call: Call, store: Store) -> Json:
    """Show a queue."""
    return _queue_json(call, store.registry.queue(call.queue_id))


def update_queue(call: Call, store: Store) -> Json:
    """Overwrite a queue's settings (PUT): those not named go back to their defaults."""
    return _set_queue(call, store, store.registry.queue(call.queue_id), QueueSettings())


def edit_queue(call: Call, store: Store) -> Json:
    """Change only the named settings of a queue (PATCH)."""
    queue = store.registry.queue(call.queue_id)
    return _set_queue(call, store, queue, queue.settings)


def _set_queue(call: Call, store: Store, queue: Queue, base: QueueSettings) -> Json:
    name = schema.queue_name(call.body) if "queue_name" in call.body else queue.queue_name
    settings = schema.queue_settings(call.body, base)
    if call.beliefs.settings_fixed and "settings" in call.body:
        raise errors.settings_fixed()
    return _queue_json(call, store.registry.update_queue(queue.queue_id, name, settings))


def delete_queue(call: Call, store: Store) -> Json:
    """Remove a queue."""
    store.registry.delete_queue(call.queue_id)


def metrics(call: Call, store: Store) -> Json:
    """Show a queue's backlog."""
    return store.messages.metrics(call.queue_id).as_json()


def purge(call: Call, store: Store) -> Json:
    """Remove all messages of a queue."""
    schema.purge_is_confirmed(call.body)
    return _queue_json(call, store.messages.purge_queue(call.queue_id))


def purge_status(call: Call, store: Store) -> Json:
    """Show when a queue was purged."""
    purged_ms = store.registry.queue(call.queue_id).purged_ms
    if purged_ms is None:
        return {"completed": "", "started_at": ""}
    return {"completed": "true", "started_at": iso(purged_ms)}


def list_consumers(call: Call, store: Store) -> Page:
    """Show a queue's consumers."""
    items = [each.as_json() for each in store.registry.queue(call.queue_id).consumers]
    return Page(items, 1, PER_PAGE, len(items))


def create_consumer(call: Call, store: Store) -> Json:
    """Add a consumer."""
    another = call.beliefs.several_consumers
    spec = schema.consumer(call.body)
    return store.registry.create_consumer(call.queue_id, spec, another=another).as_json()


def get_consumer(call: Call, store: Store) -> Json:
    """Show a consumer."""
    return store.registry.consumer(call.queue_id, call.path["consumer_id"]).as_json()


def update_consumer(call: Call, store: Store) -> Json:
    """Overwrite a consumer."""
    spec = schema.consumer(call.body)
    return store.registry.update_consumer(call.queue_id, call.path["consumer_id"], spec).as_json()


def delete_consumer(call: Call, store: Store) -> Json:
    """Remove a consumer."""
    store.registry.delete_consumer(call.queue_id, call.path["consumer_id"])
