"""An answer that is asked for in a thread, while somebody wants it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from cutmv.monitoring import Look
from cutmv.transports.cloudflare import SharedCounts
from tests.support.processes import wait_for


class Neighbour:
    """Answers with how often it was asked, once it may."""

    def __init__(self) -> None:
        self.asked, self.may = 0, threading.Event()
        self.may.set()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.asked += 1
        asked = self.asked
        assert self.may.wait(30)
        if self.error:
            raise self.error
        return asked


@pytest.fixture
def neighbour() -> Neighbour:
    return Neighbour()


@pytest.fixture
def look(neighbour: Neighbour) -> Iterator[Look[int]]:
    """A look with a thread, whose answers are never old."""
    look = Look("tests", neighbour, every_s=1000.0)
    look.start()
    yield look
    neighbour.may.set()
    look.close()


def soon() -> float:
    return time.monotonic() + 30


def test_nobody_is_asked_until_somebody_wants_to_know(
    look: Look[int], neighbour: Neighbour
) -> None:
    assert look.seen.answer is None
    assert neighbour.asked == 0

    assert look.get(soon()).answer == 1
    assert look.get(soon()).answer == 1
    assert neighbour.asked == 1


def test_a_neighbour_that_hangs_holds_nobody_up(look: Look[int], neighbour: Neighbour) -> None:
    assert look.get(soon()).answer == 1
    neighbour.may.clear()
    look.outdate()
    began = time.monotonic()

    answers = [look.get(time.monotonic() + 0.05).answer for _ in range(4)]

    assert answers == [1] * 4
    assert time.monotonic() - began < 10
    assert neighbour.asked == 2
    neighbour.may.set()
    wait_for(lambda: look.seen.answer == 2, 30, "it answers")


def test_a_failure_is_told_beside_what_was_seen_before(
    look: Look[int], neighbour: Neighbour
) -> None:
    look.get(soon())
    neighbour.error = ConnectionError("redis://:hunter2@host is away")
    look.outdate()

    seen = look.get(soon())

    assert (seen.answer, seen.problem) == (1, "ConnectionError: redis://***@host is away")
    assert seen.age_s < 30
    neighbour.error = None
    look.outdate()
    assert look.get(soon()).problem is None


def test_what_was_changed_while_it_was_looked_at_is_looked_at_again(
    look: Look[int], neighbour: Neighbour
) -> None:
    neighbour.may.clear()
    look.want()
    wait_for(lambda: neighbour.asked, 30, "it is asked")
    look.outdate()
    neighbour.may.set()
    wait_for(lambda: look.seen.answer == 1, 30, "the first look ends")

    assert look.get(soon()).answer == 2


def test_without_a_thread_it_is_asked_at_once(neighbour: Neighbour) -> None:
    assert Look("tests", neighbour, every_s=1000.0).get().answer == 1


def test_counts_are_those_of_forked_processes_too() -> None:
    counts = SharedCounts("sent", "lost")
    counts.add("sent", 2)
    child = os.fork()
    if not child:
        counts.add("sent")
        counts.add("lost", 5)
        os._exit(0)
    os.waitpid(child, 0)

    assert counts.report() == {"sent": 3, "lost": 5}
