"""In which order clients' steps run in one process, and how many at once."""

from __future__ import annotations

from cutmv.dispatch.turns import LATELY_S, Turns


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

    assert (turn := turns.next()) and (turn.group, turn.yields) == ("ben", False)
    assert turns.next() is None
    turns.ended("ben")
    assert (turn := turns.next()) and turn.group == "cleo"


def test_who_has_more_to_do_yields_where_others_have_some() -> None:
    now = [0.0]
    turns = Turns[str](most=2, clock=lambda: now[0])

    def yields(client: str, groups: int = 2) -> list[bool]:
        """Whether each of the groups yields that a client has at once."""
        for number in range(groups):
            turns.add(client, "job", f"{client} {number}")
        told = [turn.yields for _ in range(groups) if (turn := turns.next())]
        for _ in told:
            turns.ended(client)
        return told

    assert yields("ann") == [False, False], "there is nobody else"
    assert yields("ben") == [True, True], "ann may come again"
    assert yields("ann", 1) == [False], "all that she has"
    now[0] += LATELY_S / 2
    assert yields("ann") == [True, True]
    now[0] += LATELY_S
    assert yields("ann") == [False, False], "ben has not come for long"


def test_who_has_more_to_do_yields_to_what_runs_for_long() -> None:
    now = [0.0]
    turns = Turns[str](most=3, clock=lambda: now[0])
    turns.add("ben", "job", "long")
    assert turns.next()
    now[0] += 2 * LATELY_S
    turns.add("ann", "job", "first")
    turns.add("ann", "job", "second")

    assert (turn := turns.next()) and (turn.client, turn.yields) == ("ann", True)
