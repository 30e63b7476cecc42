"""In which order clients' steps run in one process, and how many at once."""

from __future__ import annotations

from cutmv.dispatch.turns import Turns


def run(turns: Turns[str], number: int) -> list[str]:
    """Run so many groups, one after another; of which each is."""
    found = []
    for _ in range(number):
        turn = turns.next()
        assert turn is not None
        found.append(turn.group)
        turns.ended(turn.client)
    return found


def test_one_client_s_many_steps_hold_up_another_s_by_one() -> None:
    turns = Turns[str](most=1)
    for number in range(200):
        turns.add("ann", "long", f"ann {number}")
    run(turns, 1)
    turns.add("ben", "short", "ben")

    assert "ben" in run(turns, 2)


def test_a_client_s_jobs_take_turns_and_a_job_s_steps_keep_their_order() -> None:
    turns = Turns[str](most=1)
    for group in ("1", "2", "3"):
        turns.add("ann", "first", group)
    turns.add("ann", "second", "a")
    turns.add("ben", "third", "x")

    assert run(turns, 5) == ["1", "x", "a", "2", "3"]
    assert turns.next() is None


def test_who_runs_nothing_need_not_wait_for_a_client_who_runs_all() -> None:
    turns = Turns[str](most=2, more=1)
    for number in range(200):
        turns.add("ann", "long", f"ann {number}")
    assert turns.next() and turns.next()
    assert turns.next() is None
    turns.add("ben", "short", "ben")
    turns.add("cleo", "short", "cleo")

    assert (turn := turns.next()) and (turn.group, turn.alone) == ("ben", True)
    assert turns.next() is None
    turns.ended("ben")
    assert (turn := turns.next()) and turn.group == "cleo"


def test_a_client_with_more_to_do_is_told_apart() -> None:
    turns = Turns[str](most=2)
    turns.add("ann", "job", "first")
    turns.add("ann", "job", "second")
    told = [turns.next(), turns.next()]
    turns.ended("ann")
    turns.ended("ann")
    turns.add("ann", "job", "third")

    assert [turn.alone for turn in (*told, turns.next()) if turn] == [False, False, True]
