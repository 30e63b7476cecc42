"""Messages that wait in the process: by priority, with a TTL, and what a queue's arguments say."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.fanout import memory
from cutmv.transports.cloudflare.messages import expiry, priority
from cutmv.transports.cloudflare.queues import QueueArguments, arguments


@given(st.lists(st.integers(0, 9)))
def test_the_most_urgent_goes_first_and_of_equal_ones_the_oldest(priorities: list[int]) -> None:
    waiting: priority.Waiting[tuple[int, int]] = priority.Waiting()
    items = [(each, age) for age, each in enumerate(priorities)]
    for item in items:
        waiting.add(item, item[0])
    assert list(waiting) == sorted(items)
    assert [waiting.take() for _ in items] == sorted(items)
    assert len(waiting) == 0
    with pytest.raises(IndexError):
        waiting.take()


def test_what_was_put_back_goes_before_its_equals() -> None:
    waiting: priority.Waiting[str] = priority.Waiting()
    for item in ("a", "b"):
        waiting.add(item, 3)
    waiting.put_back("back", 3)
    waiting.add("urgent", 0)
    assert list(waiting) == ["urgent", "back", "a", "b"]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, 0),
        ({"priority": None}, 0),
        ({"priority": "x"}, 0),
        ({"priority": 4}, 4),
        ({"priority": -1}, 0),
        ({"priority": 300}, 9),
        ({"priority": "7"}, 7),
    ],
)
def test_a_priority_is_read_whatever_it_is(properties: dict[str, Any], expected: int) -> None:
    assert priority.of({"properties": properties}) == expected


def message(**properties: Any) -> dict[str, Any]:
    return {"headers": {}, "properties": properties}


def test_a_ttl_counts_from_the_publish_or_from_the_eta() -> None:
    now = time.time()
    plain = message(expiration="5000")
    expiry.stamp(plain)
    assert plain["until"] == pytest.approx(now + 5, abs=1)
    later = message(expiration="5000")
    later["headers"]["eta"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    expiry.stamp(later, ttl=2)
    assert later["until"] == pytest.approx(now + 3602, abs=1)
    assert not expiry.is_over(plain)
    assert expiry.is_over(message() | {"until": now - 1})
    assert not expiry.is_over(message() | {"until": "soon"})


def test_a_task_that_celery_revokes_when_it_is_late_has_no_ttl() -> None:
    task = message(expiration="0")
    task["headers"]["expires"] = "2020-01-01T00:00:00"
    expiry.stamp(task)
    assert "until" not in task


def test_a_queue_s_ttl_shortens_a_message_s() -> None:
    now = time.time()
    late = message()
    expiry.limit(late, (now - 10) * 1000, 5)
    assert expiry.is_over(late)
    expiry.limit(late, now * 1000, 500)
    assert expiry.is_over(late)
    without = message()
    expiry.limit(without, None, 5)
    expiry.limit(without, now * 1000, None)
    assert not expiry.is_over(without)


def test_arguments_have_rabbitmq_s_names_and_units() -> None:
    told = arguments.named({"x-odd": 1}, {"expires": 1.5, "message_ttl": 2, "max_length": None})
    assert told == {"x-odd": 1, "x-expires": 1500, "x-message-ttl": 2000}
    assert QueueArguments.read(told) == QueueArguments(expires=1.5, message_ttl=2.0)


@pytest.mark.parametrize("value", ["1", True, -1, [1]])
def test_an_argument_of_the_wrong_type_is_one_line(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="x-expires must be a number") as caught:
        QueueArguments.read({"x-expires": value})
    assert "\n" not in str(caught.value)


def test_each_argument_without_effect_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    told: set[str] = set()
    for queue in ("one", "two"):
        arguments.tell_without_effect(
            queue,
            {"x-expires": 1, "x-queue-type": "quorum", "x-max-priority": 9, "x-message-ttl": 1},
            temporary=False,
            has_levels=True,
            told=told,
        )
    assert [line.getMessage() for line in caplog.records] == [
        "cloudflare: queue 'one': argument x-expires has no effect: it stays until it is deleted; "
        "declare it auto_delete if it is to go by itself"
    ]


def test_unused_temporary_queues_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = memory.MemoryBroker()
    readers = {}
    for number in range(memory.MAX_UNUSED + 3):
        name = f"q{number}"
        broker.declare(name)
        readers[name] = [].append
        broker.consume(name, readers[name])
    broker.declare("never read")
    assert broker.unused() == []
    for name, reader in readers.items():
        broker.cancel(name, reader)
    assert broker.unused() == ["q0", "q1", "q2"]
    broker.delete_unused("q0")
    assert broker.was_deleted("q0")
    broker.declare("q0")
    assert not broker.was_deleted("q0")
    broker.delete_unused("q0")
    broker.declare_durable("q0", None)
    assert not broker.was_deleted("q0")
    broker.declare("q0")
    monkeypatch.setattr(memory, "UNUSED_AFTER", -1.0)
    assert set(broker.unused()) == set(readers) - {"q0"}
