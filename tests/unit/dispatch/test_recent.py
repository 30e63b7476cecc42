"""Who asks while a slow neighbour is being asked."""

from __future__ import annotations

import threading

import pytest

from cutmv.dispatch.recent import Recent


def test_who_comes_while_another_asks_gets_the_answer_before() -> None:
    answers, begun, go_on = iter([1, 2]), threading.Event(), threading.Event()

    def ask() -> int:
        begun.set()
        assert go_on.wait(10)
        return next(answers)

    recent = Recent(ask, max_age_s=0.0)
    go_on.set()
    assert recent.get() == 1
    go_on.clear()
    begun.clear()
    slow = threading.Thread(target=recent.get)
    slow.start()
    assert begun.wait(10)

    assert recent.get() == 1
    go_on.set()
    slow.join(10)
    assert recent._latest and recent._latest[1] == 2


def test_an_answer_is_given_again_while_it_is_fresh() -> None:
    answers = iter([1, 2])
    recent = Recent(lambda: next(answers), max_age_s=60.0)
    assert (recent.get(), recent.get()) == (1, 1)


def test_an_error_leaves_nobody_waiting() -> None:
    recent = Recent[int](lambda: 1 // 0, max_age_s=0.0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            recent.get()
