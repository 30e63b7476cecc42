"""The dice, and the budget of calls."""

from __future__ import annotations

import random

import pytest

from cutmv.emulator.errors import ApiError
from cutmv.emulator.faults import Faults, parse_rule
from cutmv.emulator.ratelimit import RateLimit

ROUTES = frozenset({"publish", "pull"})


def faults(*documents: dict[str, object]) -> Faults:
    made = Faults()
    made.set([parse_rule(each, ROUTES) for each in documents])
    return made


def test_a_rule_acts_on_its_route_as_often_as_it_says() -> None:
    made = faults({"route": "publish", "kind": 500, "count": 2})
    answers = [made.judge(route).answer for route in ("pull", "publish", "publish", "publish")]
    assert [answer is not None for answer in answers] == [False, True, True, False]
    assert made.rules[0].fired == 2


def test_a_seed_makes_the_dice_fall_the_same_way_again() -> None:
    def falls() -> list[bool]:
        made = faults({"kind": "drop_after", "probability": 0.3, "seed": 7})
        return [made.judge("publish").answer is not None for _ in range(200)]

    assert falls() == falls()
    assert 30 < sum(falls()) < 90


def test_latencies_add_up_beside_the_one_answer_that_acts() -> None:
    verdict = faults(
        {"kind": "latency", "latency_ms": 20},
        {"kind": "503", "route": "pull"},
        {"kind": "429", "retry_after": 9},
        {"kind": "latency", "latency_ms": 5, "route": "pull"},
        {"kind": "reorder", "route": "pull"},
    ).judge("pull")
    assert (verdict.latency_ms, verdict.answer.kind) == (25, "503")
    assert isinstance(verdict.shuffle, random.Random)


def test_duplicates_are_diced_for_each_message() -> None:
    made = faults({"kind": "duplicate", "route": "pull", "count": 2})
    assert made.judge("pull").answer is None
    assert made.duplicates(["a", "b", "c"]) == ["a", "b"]
    assert made.duplicates(["d"]) == []


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"kind": "tea"},
        {"kind": "500", "route": "tea"},
        {"kind": "500", "probability": "often"},
        {"kind": "500", "count": -1},
        {"kind": "500", "probabilty": 1},
    ],
)
def test_a_rule_that_does_not_fit_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r"rule|route|fault|want"):
        parse_rule(document, ROUTES)


def test_past_the_budget_every_call_of_the_token_is_refused_until_the_window_ends() -> None:
    now = [1_000_000]
    limit = RateLimit(lambda: now[0])
    limit.admit("t", "pull")
    now[0] += 200_500  # the window began with the first call, free as it was
    for _ in range(1200):
        limit.admit("t", "publish")
    assert limit.headers("t")["ratelimit"] == '"default";r=0;t=100'
    limit.admit("t", "pull")
    for route in ("publish", "pull", "ack"):
        with pytest.raises(ApiError) as refused:
            limit.admit("t", route)
        assert (refused.value.status, refused.value.retry_after) == (429, 100)
    limit.admit("other", "publish")

    now[0] += 99_500
    limit.admit("t", "publish")
    assert limit.headers("t") == {
        "ratelimit": '"default";r=1199;t=300',
        "ratelimit-policy": '"default";q=1200;w=300',
    }


def test_pulls_and_acks_are_not_counted() -> None:
    limit = RateLimit(lambda: 0)
    for _ in range(2000):
        limit.admit("t", "pull")
        limit.admit("t", "ack")
    assert "r=1200;" in limit.headers("t")["ratelimit"]
