"""Whether a delivery is surely the first of its message."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cutmv.transports.cloudflare.api.habits import PullHabits
from cutmv.transports.cloudflare.api.responses import Pulled
from cutmv.transports.cloudflare.leases import Delivery, Lease
from cutmv.transports.cloudflare.leases.first_deliveries import FirstDeliveries

LEASE = 60.0


def delivery(age: float, attempts: int | None = 1) -> Delivery:
    entry: dict[str, Any] = {"timestamp_ms": (time.time() - age) * 1000}
    if attempts is not None:
        entry["attempts"] = attempts
    return Delivery(Lease("q", "l"), entry)


@pytest.mark.parametrize(
    ("age", "attempts", "repeated"),
    [(0, 1, False), (0, 2, True), (LEASE, 1, True), (LEASE, 2, True), (0, None, True)],
)
def test_an_old_message_or_one_without_a_count_may_have_been_delivered(
    age: float, attempts: int | None, repeated: bool
) -> None:
    assert FirstDeliveries(LEASE).may_be_repeated(delivery(age, attempts)) is repeated


def test_messages_give_evidence_that_first_deliveries_count_as_one() -> None:
    young = FirstDeliveries(LEASE)
    for _ in range(10):
        assert not young.may_be_repeated(delivery(0))
    assert not young.may_be_repeated(delivery(LEASE))
    assert young.may_be_repeated(delivery(LEASE, 2))
    old = FirstDeliveries(LEASE)
    asked = [old.may_be_repeated(delivery(LEASE)) for _ in range(200)]
    assert asked == [True] * 100 + [False] * 100


def test_attempts_that_count_from_zero_count_from_one_here() -> None:
    habits = PullHabits()

    def pull(*attempts: int) -> list[int]:
        answer = Pulled([{"attempts": each} for each in attempts], None)
        habits.learn(answer)
        return [each["attempts"] for each in answer.messages]

    assert pull(1, 2) == [1, 2]
    assert pull(0, 1) == [1, 2]
    assert pull(1) == [2]


def test_a_backlog_is_believed_once_it_has_counted_what_can_t_be_pulled() -> None:
    habits = PullHabits()
    for backlog in (0, None, 5, 5):
        habits.learn(Pulled([], backlog))
    habits.learn(Pulled([{"attempts": 1}], 3))
    assert not habits.counts_unready
    habits.learn(Pulled([], 1))
    assert habits.counts_unready
