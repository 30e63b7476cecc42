"""Whether the neighbours work, as threads see it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from cutmv.storage import StorageError
from cutmv.web import checks
from cutmv.web.checks import Check
from tests.support.processes import wait_for

#: Makes and starts a check.
Start = Callable[[Callable[[], object]], Check]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts checks that look again at once, and ends them."""
    monkeypatch.setattr(checks, "INTERVAL_S", 0.01)
    started: list[Check] = []

    def begin(look: Callable[[], object]) -> Check:
        started.append(Check("storage", look))
        started[-1].start()
        return started[-1]

    yield begin
    for check in started:
        check.close()


def test_a_neighbour_that_fails_is_told_of_once_and_so_is_its_return(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    looks, fails = threading.Semaphore(0), threading.Event()

    def look() -> None:
        looks.release()
        if fails.is_set():
            raise StorageError("secret/path is away")

    check = start(look)
    wait_for(check.works, 10, "it works")
    fails.set()
    wait_for(lambda: not check.works(), 10, "it fails")
    for _ in range(20):
        assert looks.acquire(timeout=10)
    fails.clear()
    wait_for(check.works, 10, "it works again")

    told = [each.getMessage() for each in caplog.records]
    assert [text.split()[2] for text in told] == ["is", "answers"]
    assert "secret" not in caplog.text


def test_a_look_that_hangs_is_a_failure_soon_and_holds_nobody_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "STALE_S", 0.2)
    monkeypatch.setattr(checks, "CLOSE_S", 0.1)
    hangs, go_on = threading.Event(), threading.Event()

    def look() -> None:
        if hangs.is_set():
            go_on.wait(30)

    check = start(look)
    wait_for(check.works, 10, "it works")
    hangs.set()
    wait_for(lambda: not check.works(), 10, "what was seen is too old")
    check.close()
    go_on.set()


def test_a_bug_in_a_look_ends_no_thread(start: Start) -> None:
    bugs = iter([RuntimeError("a bug")])

    def look() -> None:
        for bug in bugs:
            raise bug

    wait_for(start(look).works, 10, "it works")


def test_a_look_without_a_thread_is_had_at_once() -> None:
    def fails() -> None:
        raise StorageError("away")

    assert Check("storage", lambda: None).works()
    assert not Check("storage", fails).works()
