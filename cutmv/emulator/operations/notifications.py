"""The work of the calls for R2's event notifications; `cutmv.emulator.buckets` sends them."""

from __future__ import annotations

from cutmv.emulator import schema
from cutmv.emulator.model import Json
from cutmv.emulator.operations.call import Call
from cutmv.emulator.store import Store


def list_notifications(call: Call, store: Store) -> Json:
    """Show the rules of a bucket, by the queues that they are for."""
    bucket = call.path["bucket_name"]
    queues = store.registry.notified_queues(bucket)
    return {
        "bucketName": bucket,
        "queues": [_shown(store, bucket, queue_id) for queue_id in queues],
    }


def get_notifications(call: Call, store: Store) -> Json:
    """Show the rules by which R2 tells a queue of a bucket's objects."""
    return _shown(store, call.path["bucket_name"], call.queue_id)


def put_notifications(call: Call, store: Store) -> Json:
    """Add rules."""
    rules = schema.notification_rules(call.body)
    store.registry.add_notification_rules(call.path["bucket_name"], call.queue_id, rules)
    return {}


def delete_notifications(call: Call, store: Store) -> Json:
    """Remove all rules of a bucket for a queue."""
    store.registry.delete_notification_rules(call.path["bucket_name"], call.queue_id)
    return {}


def _shown(store: Store, bucket: str, queue_id: str) -> Json:
    queue, rules = store.registry.notification_rules(bucket, queue_id)
    return {"queueId": queue_id, "queueName": queue.queue_name, "rules": list(rules)}
