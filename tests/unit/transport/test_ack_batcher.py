"""What becomes of acks while Cloudflare refuses them, hangs, or refuses one of many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    CloudflareError,
    Conflict,
    NotFound,
    Refused,
    ServerFault,
    Throttled,
    Unreachable,
)
from cutmv.transports.cloudflare.leases import ack_batcher
from cutmv.transports.cloudflare.leases.ack_batcher import AckBatcher
from cutmv.transports.cloudflare.leases.delivery import Delivery, Lease
from cutmv.transports.cloudflare.runtime import HOPELESS_AFTER
from tests.support.transport import wait_until

Reply = Callable[[str, Sequence[str]], dict[str, str]]


class Cloud:
    """Takes the place of the API's client, and of who is told; `reply` answers each call."""

    def __init__(self) -> None:
        self.reply: Reply = lambda queue, acks: {}
        self.accepted: list[str] = []
        self.calls: list[tuple[str, int, float]] = []
        self.told: list[str] = []
        self.settled: list[str] = []
        self.hopeless: list[BaseException] = []
        self.batcher = AckBatcher(
            self,  # type: ignore[arg-type]
            0.02,
            lambda _: None,
            on_settled=lambda each: self.settled.append(each.lease.lease_id),
            on_trouble=lambda each: self.told.extend(d.lease.lease_id for d in each),
            on_hopeless=self.hopeless.append,
            slow_after=0.2,
        )

    def end_leases(
        self, queue: str, acks: Sequence[str], retries: Sequence[Any], deadline: float
    ) -> dict[str, str]:
        self.calls.append((queue, len(acks) + len(retries), time.monotonic()))
        warnings = self.reply(queue, acks)
        self.accepted += acks
        return warnings

    def ack(self, queue: str, *leases: str) -> None:
        for lease in leases:
            self.batcher.add(Delivery(Lease(queue, lease, key=lease)), None)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    cloud.batcher.start()
    yield cloud
    cloud.batcher.close(1)


def failing(error: CloudflareError, queue: str = "a", times: int = 10**9) -> Reply:
    left = [times]

    def reply(called: str, _acks: Sequence[str]) -> dict[str, str]:
        if called == queue and left[0]:
            left[0] -= 1
            raise error
        return {}

    return reply


def test_a_queue_that_has_to_wait_for_an_hour_delays_no_other(cloud: Cloud) -> None:
    cloud.reply = failing(Throttled("slow down", status=429, retry_after=3600.0))
    cloud.ack("a", "a1")
    wait_until(lambda: cloud.told == ["a1"], 5, "the first failure is told at once")

    began = time.monotonic()
    for number in range(20):
        cloud.ack("b", f"b{number}")
        wait_until(lambda n=number: f"b{n}" in cloud.accepted, 5, "the other's is accepted")
    assert time.monotonic() - began < 5
    assert "a1" not in cloud.accepted

    cloud.ack("a", "a2")
    wait_until(lambda: cloud.told == ["a1", "a2"], 5, "one that joins the wait is told, too")


def test_a_call_that_hangs_holds_up_no_other_queue_and_is_told(cloud: Cloud) -> None:
    release = threading.Event()

    def reply(queue: str, _acks: Sequence[str]) -> dict[str, str]:
        if queue.startswith("hangs"):
            release.wait(20)
        return {}

    cloud.reply = reply
    for number in range(12):
        cloud.ack(f"hangs {number}", f"h{number}")
    wait_until(lambda: len(cloud.calls) == 12, 5, "they hang")
    cloud.ack("b", "b1")

    wait_until(lambda: "b1" in cloud.accepted, 2, "the other's is accepted")
    wait_until(lambda: len(cloud.told) == 12, 5, "those that hang are told before they fail")
    assert "b1" not in cloud.told
    release.set()
    wait_until(lambda: len(cloud.settled) == 13, 5, "all are accepted")


@pytest.mark.parametrize("bad", [0, 37, 99])
def test_one_bad_lease_voids_no_other_of_its_call(cloud: Cloud, bad: int) -> None:
    def reply(_queue: str, acks: Sequence[str]) -> dict[str, str]:
        if f"l{bad}" in acks:
            raise Refused("no such lease", status=400)
        return {}

    cloud.reply = reply
    cloud.ack("a", *(f"l{number}" for number in range(100)))

    wait_until(lambda: len(cloud.settled) == 100, 10, "each is dealt with")
    assert sorted(cloud.accepted) == sorted(f"l{n}" for n in range(100) if n != bad)
    assert cloud.told == [f"l{bad}"], "the ledger keeps a copy of it from being run"
    assert len(cloud.calls) < 20


def test_one_lease_that_breaks_the_server_holds_up_no_other_for_ever(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ack_batcher, "PAUSE_MAX", 0.02)

    def reply(_queue: str, acks: Sequence[str]) -> dict[str, str]:
        if "l7" in acks:
            raise ServerFault("broken", status=500)
        return {}

    cloud.reply = reply
    cloud.ack("a", *(f"l{number}" for number in range(20)))
    wait_until(lambda: len(cloud.accepted) == 19, 10, "the others are accepted")
    cloud.ack("a", "later")
    wait_until(lambda: "later" in cloud.accepted, 10, "and those that come later")

    assert "l7" in cloud.told
    assert "l7" not in cloud.settled, "it is not given up, since an outage looks the same"
    cloud.reply = lambda _queue, _acks: {}
    wait_until(lambda: "l7" in cloud.accepted, 10, "it is accepted in the end")


@pytest.mark.parametrize(
    "error",
    [
        Conflict("later", status=409),
        AccessDenied("the token is being replaced", status=401),
        Unreachable("dropped"),
        ServerFault("broken", status=503, retry_after=0.1),
        RuntimeError("that nobody expected"),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'status', '')}",
)
def test_what_may_pass_is_told_at_once_and_tried_again(cloud: Cloud, error: Any) -> None:
    cloud.reply = failing(error, times=2)
    cloud.ack("a", "a1", "a2")

    wait_until(lambda: sorted(cloud.accepted) == ["a1", "a2"], 10, "they are accepted in the end")
    assert sorted(cloud.told) == ["a1", "a2"]
    assert len(cloud.calls) == 3


def test_who_is_asked_to_wait_waits_as_long(cloud: Cloud) -> None:
    cloud.reply = failing(Throttled("slow down", status=429, retry_after=0.6), times=1)
    cloud.ack("a", "a1")

    wait_until(lambda: cloud.accepted, 5, "it is accepted in the end")
    assert cloud.calls[1][2] - cloud.calls[0][2] >= 0.6


def test_a_call_that_hangs_is_told_though_acks_wait_for_no_others(cloud: Cloud) -> None:
    release = threading.Event()
    cloud.batcher._linger = 0.0

    def reply(_queue: str, _acks: Sequence[str]) -> dict[str, str]:
        release.wait(20)
        return {}

    cloud.reply = reply
    cloud.ack("a", "a1")

    wait_until(lambda: cloud.told == ["a1"], 5, "it is told while it hangs")
    release.set()


def test_an_error_that_nobody_expected_and_that_stays_is_told(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ack_batcher, "PAUSE_MAX", 0.01)
    cloud.reply = failing(RuntimeError("again"))  # type: ignore[arg-type]
    cloud.ack("a", "a1")

    wait_until(lambda: cloud.hopeless, 5, "nothing more should be consumed")
    assert len(cloud.calls) >= HOPELESS_AFTER


def test_acks_of_a_queue_that_is_gone_are_given_up(cloud: Cloud) -> None:
    cloud.reply = failing(NotFound("no such queue", status=404, code=10104))
    cloud.ack("a", "a1", "a2")

    wait_until(lambda: len(cloud.settled) == 2, 5, "they are given up")
    assert len(cloud.calls) == 1
    assert cloud.batcher.flush(1)


def test_a_full_call_goes_at_once_and_acks_share_calls(cloud: Cloud) -> None:
    cloud.batcher._linger = 5.0
    cloud.ack("a", "l0")
    wait_until(lambda: cloud.accepted, 5, "the first goes at once")
    cloud.ack("a", *(f"l{number}" for number in range(1, 101)))

    wait_until(lambda: len(cloud.accepted) == 101, 4, "a full call does not linger")
    assert [count for _, count, _ in cloud.calls] == [1, 100]


def test_the_first_ack_goes_at_once_and_those_that_follow_share_a_call(cloud: Cloud) -> None:
    cloud.batcher._linger = 0.5
    cloud.ack("a", "l0")
    wait_until(lambda: cloud.accepted, 0.4, "a worker that dies now has acked it")
    for number in range(1, 11):
        cloud.ack("a", f"l{number}")
    cloud.ack("b", "m0")

    wait_until(lambda: len(cloud.accepted) == 12, 5, "all are accepted")
    calls = [(count, at) for queue, count, at in cloud.calls if queue == "a"]
    assert [count for count, _ in calls] == [1, 10]
    assert calls[1][1] - calls[0][1] >= 0.5
    wait_until(lambda: not cloud.batcher._lanes, 5, "nothing is left of the queue")


def test_the_threads_end(cloud: Cloud) -> None:
    before = set(threading.enumerate())  # other tests' connections may have some
    cloud.ack("a", "a1")
    assert cloud.batcher.flush(5)
    assert cloud.accepted == ["a1"]
    cloud.batcher.close(5)
    made = set(threading.enumerate()) - before
    assert not [each.name for each in made if each.name == "cloudflare-ack-calls"]
