"""In which order clients' steps run in one process."""

from __future__ import annotations

import pytest

from cutmv.dispatch.turns import Turns


def test_one_client_s_many_steps_hold_up_another_s_by_one() -> None:
    turns = Turns()
    for number in range(200):
        turns.add("ann", "long", [f"ann {number}"])
    turns.next()
    turns.add("ben", "short", ["ben"])

    assert ["ben"] in [turns.next() for _ in range(2)]


def test_a_client_s_jobs_take_turns_and_a_job_s_steps_keep_their_order() -> None:
    turns = Turns()
    for group in ("1", "2", "3"):
        turns.add("ann", "first", [group])
    turns.add("ann", "second", ["a"])
    turns.add("ben", "third", ["x", "y"])

    assert [turns.next() for _ in range(5)] == [["1"], ["x", "y"], ["a"], ["2"], ["3"]]
    with pytest.raises(KeyError):
        turns.next()
