"""Background threads, which no error ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from cutmv.transports.cloudflare import runtime, troubles
from cutmv.transports.cloudflare.runtime import BackgroundThread
from cutmv.transports.cloudflare.troubles import shown


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(troubles, "_troubles", troubles._Troubles())
    monkeypatch.setattr(runtime, "TROUBLE_PAUSE_MAX", 0.001)
    yield


def test_an_unexpected_error_is_logged_and_counted_and_the_thread_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: list[str] = []
    went_on = threading.Event()

    def run() -> None:
        runs.append(threading.current_thread().name)
        if len(runs) < 3:
            raise AttributeError(f"no such thing as {len(runs)}")
        went_on.set()
        thread.stopping.wait()

    thread = BackgroundThread("work", run)
    with caplog.at_level(logging.ERROR):
        thread.start()
        assert went_on.wait(5)
    assert runs == ["cloudflare-work"] * 3
    assert caplog.text.count("Traceback") == 2
    report = runtime.threads_report()
    assert not report["well"]
    assert report["errors"] == 2
    assert report["troubled"]["cloudflare-work"]["errors"] == 2
    assert report["troubled"]["cloudflare-work"]["last_error"] == (
        "AttributeError: no such thing as 2"
    )
    thread.close(5)
    assert not thread.alive


def test_what_even_ends_a_thread_in_silence_does_not_end_it() -> None:
    runs: list[int] = []

    def run() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise SystemExit

    thread = BackgroundThread("work", run)
    thread.start()
    thread.join(5)
    assert len(runs) == 2


def test_the_owner_is_told_that_a_thread_does_not_recover() -> None:
    hopeless: list[BaseException] = []

    def tell(error: BaseException) -> None:
        hopeless.append(error)
        thread.stopping.set()

    def run() -> None:
        raise ValueError("again")

    thread = BackgroundThread("work", run, on_hopeless=tell)
    thread.start()
    thread.join(5)
    assert [str(error) for error in hopeless] == ["again"]
    assert runtime.threads_report()["errors"] == runtime.HOPELESS_AFTER + 1  # one more, to end


def test_what_new_connections_do_not_help_against_ends_fewer_and_fewer_of_them() -> None:
    """A connection's end returns its messages, and each return counts as a delivery."""
    hopeless: list[int] = []

    def a_thread() -> BackgroundThread:
        return BackgroundThread("work", lambda: None, on_hopeless=lambda _: hopeless.append(errors))

    thread = a_thread()
    for errors in range(1, 60):
        thread.note(ValueError("again"))
        if errors in hopeless:
            thread = a_thread()  # the new connection's
    assert hopeless == [5, 10, 20, 40]

    troubles._troubles._by_name["cloudflare-work"].at -= 2 * troubles.WELL_AFTER
    for _ in range(runtime.HOPELESS_AFTER):
        thread.note(ValueError("again"))
    assert len(hopeless) == 5, "it was well for a time"


def test_threads_that_were_stopped_together_take_no_longer_than_one() -> None:
    hang = threading.Event()
    threads = [BackgroundThread("work", hang.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
        thread.stop()
    began = time.monotonic()
    for thread in threads:
        thread.join(0.4)
    assert time.monotonic() - began < 0.8
    hang.set()


def test_a_thread_that_fails_while_it_ends_is_asked_once_more() -> None:
    runs: list[int] = []

    def run() -> None:
        runs.append(1)
        thread.stopping.wait()
        raise ValueError("at the end")

    thread = BackgroundThread("work", run)
    thread.start()
    thread.close(5)
    assert not thread.alive
    assert len(runs) == 2


def test_a_thread_is_well_again_after_a_time_without_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    troubles.note_trouble("work", ValueError("x"), "it goes on")
    assert not runtime.threads_report()["well"]
    monkeypatch.setattr(troubles, "WELL_AFTER", -1.0)
    report = runtime.threads_report()
    assert report["well"]
    assert report["troubled"]["work"]["errors"] == 1


def test_few_names_are_kept_of_many_that_met_errors() -> None:
    for number in range(100):
        troubles.note_trouble(f"binding-{number}", ValueError(number), "it goes on")
    report = runtime.threads_report()
    assert len(report["troubled"]) == troubles._Troubles.most
    assert report["errors"] == 100


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("redis://:hunter2@host/0 refused", "redis://***@host/0 refused"),
        ("Illegal header value b'Bearer abc-1'", "Illegal header value b'Bearer ***'"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_report_shows_no_secret(text: str, safe: str) -> None:
    assert shown(ValueError(text)) == f"ValueError: {safe}"


def test_the_same_error_again_has_no_second_traceback_soon(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        try:
            raise ValueError("x")
        except ValueError as error:
            troubles.note_trouble("work", error, "it goes on")
    assert caplog.text.count("ValueError: x); it goes on") == 3
    assert caplog.text.count("Traceback") == 1

    monkeypatch.setattr(troubles, "TRACEBACK_AGAIN_AFTER", -1.0)
    troubles.note_trouble("work", ValueError("x"), "it goes on")
    assert caplog.text.count("ValueError: x); it goes on") == 4
    assert caplog.text.count("\nValueError: x") == 2, "once in a while it has one"


def test_work_beside_is_done_once_and_its_error_counted() -> None:
    def work() -> None:
        raise ValueError("x")

    thread = runtime.run_aside("once", work)
    thread.join(5)
    assert list(runtime.threads_report()["troubled"]) == ["cloudflare-once"]


def act(number: int) -> int:
    """The reciprocal of a number, in thousandths."""
    return 1000 // number


def test_one_of_many_that_fails_does_not_hold_up_the_others() -> None:
    results = runtime.in_parallel("part", 8, act, range(-5, 5))
    assert isinstance(results.pop(5), ZeroDivisionError)
    assert results == [1000 // number for number in range(-5, 5) if number]


def test_what_is_done_in_parallel_runs_side_by_side() -> None:
    together = threading.Barrier(4, timeout=5)
    assert len(runtime.in_parallel("part", 4, lambda _: together.wait(), range(4))) == 4
    assert runtime.in_parallel("part", 4, act, []) == []


def test_where_no_thread_can_be_started_the_caller_does_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert runtime.in_parallel("part", 8, act, [1, 2]) == [1000, 500]
