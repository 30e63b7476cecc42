"""The official SDK, pointed at the emulator, works for every Queues call."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Iterator
from typing import Any

import cloudflare
import pytest
from cloudflare import Cloudflare

from tests.support.emulator import EmulatorProcess


@pytest.fixture
def client(emulator: EmulatorProcess) -> Iterator[Cloudflare]:
    with Cloudflare(
        api_token=emulator.api_token, base_url=emulator.base_url, max_retries=0
    ) as client:
        yield client


@pytest.fixture
def account(emulator: EmulatorProcess) -> str:
    return emulator.account_id


@pytest.fixture
def queue_id(client: Cloudflare, account: str) -> str:
    """A queue with an http_pull consumer."""
    queue = client.queues.create(account_id=account, queue_name="work")
    assert queue and queue.queue_id
    client.queues.consumers.create(queue.queue_id, account_id=account, type="http_pull")
    return queue.queue_id


def test_queues_are_created_listed_changed_and_deleted(client: Cloudflare, account: str) -> None:
    queues = client.queues
    made = queues.create(account_id=account, queue_name="clips", jurisdiction="eu")
    assert (made.queue_name, made.jurisdiction, made.consumers_total_count) == ("clips", "eu", 0)
    assert made.settings.message_retention_period == 4 * 24 * 3600

    edited = queues.edit(made.queue_id, account_id=account, settings={"delivery_delay": 5})
    assert edited.settings.delivery_delay == 5
    edited = queues.edit(made.queue_id, account_id=account, settings={"delivery_paused": True})
    assert (edited.settings.delivery_delay, edited.settings.delivery_paused) == (5, True)

    updated = queues.update(made.queue_id, account_id=account, queue_name="cuts")
    assert (updated.queue_name, updated.settings.delivery_delay) == ("cuts", 0)
    assert queues.get(made.queue_id, account_id=account) == updated
    assert [each.queue_name for each in queues.list(account_id=account)] == ["cuts"]

    queues.delete(made.queue_id, account_id=account)
    with pytest.raises(cloudflare.NotFoundError) as refused:
        queues.get(made.queue_id, account_id=account)
    assert refused.value.errors[0].code == 10104


def test_consumers_are_created_listed_changed_and_deleted(client: Cloudflare, account: str) -> None:
    queue = client.queues.create(account_id=account, queue_name="work")
    consumers = client.queues.consumers
    made = consumers.create(
        queue.queue_id,
        account_id=account,
        type="http_pull",
        dead_letter_queue="dead",
        settings={"max_retries": 7, "visibility_timeout_ms": 60_000},
    )
    assert (made.type, made.queue_name, made.dead_letter_queue) == ("http_pull", "work", "dead")
    assert (made.settings.max_retries, made.settings.batch_size) == (7, 5)
    assert [q.queue_name for q in client.queues.list(account_id=account)] == ["work", "dead"]

    assert list(consumers.list(queue.queue_id, account_id=account)) == [made]
    assert consumers.get(made.consumer_id, account_id=account, queue_id=queue.queue_id) == made
    assert client.queues.get(queue.queue_id, account_id=account).consumers == [made]

    updated = consumers.update(
        made.consumer_id,
        account_id=account,
        queue_id=queue.queue_id,
        type="worker",
        script_name="edge",
        settings={"max_concurrency": 3},
    )
    assert (updated.type, updated.script_name, updated.settings.max_concurrency) == (
        "worker",
        "edge",
        3,
    )
    consumers.delete(made.consumer_id, account_id=account, queue_id=queue.queue_id)
    assert list(consumers.list(queue.queue_id, account_id=account)) == []


def test_messages_are_pushed_pulled_retried_and_acked(
    client: Cloudflare, account: str, queue_id: str
) -> None:
    messages = client.queues.messages
    pushed = messages.push(queue_id, account_id=account, body="één", content_type="text")
    assert pushed.metadata.metrics.backlog_count == 1
    messages.bulk_push(
        queue_id,
        account_id=account,
        messages=[
            {"body": {"n": 1}, "content_type": "json"},
            {"body": "later", "content_type": "text", "delay_seconds": 60},
        ],
    )
    pulled = messages.pull(
        queue_id, account_id=account, batch_size=10, visibility_timeout_ms=30_000
    )
    text, document = pulled.messages
    assert (text.body, text.attempts) == ("één", 1)
    assert text.metadata == {"CF-Content-Type": "text"}
    assert json.loads(base64.b64decode(document.body)) == {"n": 1}
    assert pulled.message_backlog_count == pulled.metadata.metrics.backlog_count == 3

    done = messages.ack(
        queue_id,
        account_id=account,
        acks=[{"lease_id": text.lease_id}, {"lease_id": "nonsense"}],
        retries=[{"lease_id": document.lease_id}],
    )
    assert (done.ack_count, done.retry_count, list(done.warnings)) == (1, 1, ["nonsense"])

    [again] = messages.pull(queue_id, account_id=account).messages
    assert (again.id, again.attempts) == (document.id, 2)


def test_peeked_messages_are_not_leased_and_can_be_purged(
    client: Cloudflare, account: str, queue_id: str
) -> None:
    messages = client.queues.messages
    for body in ("keep", "drop"):
        messages.push(queue_id, account_id=account, body=body, content_type="text")
    kept, dropped = messages.peek(queue_id, account_id=account, batch_size=10).messages
    assert (kept.body, kept.attempts, dropped.body) == ("keep", 0, "drop")

    done = messages.purge(queue_id, account_id=account, refs=[{"ref": dropped.ref}])
    assert (done.errors, done.warnings) == ([], {})
    again = messages.purge(queue_id, account_id=account, refs=[{"ref": dropped.ref}])
    assert list(again.warnings) == [dropped.ref]
    [left] = messages.pull(queue_id, account_id=account).messages
    assert left.body == "keep"


def test_a_queue_is_measured_and_purged(client: Cloudflare, account: str, queue_id: str) -> None:
    queues = client.queues
    queues.messages.push(queue_id, account_id=account, body="12345", content_type="text")
    metrics = queues.get_metrics(queue_id, account_id=account)
    assert (metrics.backlog_count, metrics.backlog_bytes) == (1, 5)
    assert metrics.oldest_message_timestamp_ms > 1e12

    assert not queues.purge.status(queue_id, account_id=account).started_at
    purged = queues.purge.start(queue_id, account_id=account, delete_messages_permanently=True)
    assert purged.queue_id == queue_id
    assert queues.purge.status(queue_id, account_id=account).completed == "true"
    assert queues.get_metrics(queue_id, account_id=account).backlog_count == 0


def test_event_subscriptions_are_created_listed_changed_and_deleted(
    client: Cloudflare, account: str, queue_id: str
) -> None:
    subscriptions = client.queues.subscriptions
    made = subscriptions.create(
        account_id=account,
        name="uploads",
        events=["bucket.created"],
        source={"type": "r2"},
        destination={"type": "queues.queue", "queue_id": queue_id},
    )
    assert (made.name, made.enabled, made.source.type) == ("uploads", True, "r2")
    other = subscriptions.create(
        account_id=account,
        name="builds",
        enabled=False,
        events=["build.succeeded"],
        source={"type": "workersBuilds.worker", "worker_name": "edge"},
        destination={"type": "queues.queue", "queue_id": queue_id},
    )
    listed = subscriptions.list(account_id=account, order="name", direction="desc", per_page=1)
    assert [each.id for each in listed] == [made.id, other.id]

    changed = subscriptions.update(made.id, account_id=account, enabled=False)
    assert (changed.name, changed.enabled) == ("uploads", False)
    found = subscriptions.get(made.id, account_id=account)
    assert found.to_dict() == changed.to_dict()
    assert subscriptions.delete(made.id, account_id=account).id == made.id
    with pytest.raises(cloudflare.NotFoundError):
        subscriptions.get(made.id, account_id=account)
    with pytest.raises(cloudflare.NotFoundError) as refused:
        subscriptions.update(
            other.id,
            account_id=account,
            destination={"type": "queues.queue", "queue_id": "0" * 32},
        )
    assert refused.value.errors[0].code == 10104


def test_event_notifications_are_added_listed_shown_and_deleted(
    client: Cloudflare, account: str, queue_id: str
) -> None:
    notifications = client.r2.buckets.event_notifications
    where: Any = {"account_id": account, "bucket_name": "films"}
    for prefix in ("incoming/", "other/"):
        rule: Any = {"actions": ["PutObject", "DeleteObject"], "prefix": prefix}
        notifications.update(queue_id, **where, rules=[rule])

    found = notifications.get(queue_id, **where)
    assert found.queue_id == queue_id
    assert [each.prefix for each in found.rules or ()] == ["incoming/", "other/"]
    assert all(each.rule_id and each.created_at for each in found.rules or ())
    [listed] = notifications.list("films", account_id=account).queues or ()
    assert len(listed.rules or ()) == 2
    with pytest.raises(cloudflare.BadRequestError):  # R2 takes no rules that overlap
        rule = {"actions": ["PutObject"], "prefix": "incoming/x/"}
        notifications.update(queue_id, **where, rules=[rule])
    notifications.delete(queue_id, **where)
    with pytest.raises(cloudflare.NotFoundError):
        notifications.get(queue_id, **where)
    assert calls_of(notifications) == {"delete", "get", "list", "update"}


def test_the_sdk_has_no_queues_call_but_those_tried_above(client: Cloudflare) -> None:
    crud = {"create", "delete", "get", "list", "update"}
    assert calls_of(client.queues) == crud | {"edit", "get_metrics"}
    assert calls_of(client.queues.consumers) == crud
    assert calls_of(client.queues.messages) == {
        "ack",
        "bulk_push",
        "peek",
        "pull",
        "purge",
        "push",
    }
    assert calls_of(client.queues.purge) == {"start", "status"}
    assert calls_of(client.queues.subscriptions) == crud


def calls_of(resource: object) -> set[str]:
    """The names of the calls of one of the SDK's resources."""
    methods = inspect.getmembers(resource, inspect.ismethod)
    return {name for name, _ in methods if not name.startswith("_")}
