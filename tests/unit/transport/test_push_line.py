"""The line of pushed messages that wait for room."""

from __future__ import annotations

from typing import Any

import pytest

from cutmv.transports.cloudflare.consumer import push_line
from cutmv.transports.cloudflare.consumer.push_line import BUSY_MAX, BUSY_MIN, Pushed, WaitingLine


def pushed(published_ms: int, level: int = 0, body: str = "") -> Pushed:
    entry: dict[str, Any] = {"id": "i", "timestamp_ms": published_ms, "body": body}
    return Pushed(
        f"{level}-{published_ms}",
        queue_name="q",
        entry=entry,
        rank=(level, published_ms),
        until=0.0,
        on_ended=lambda *_: None,
    )


def test_the_most_urgent_and_then_the_oldest_are_first() -> None:
    line = WaitingLine()
    for each in (pushed(3), pushed(1, level=1), pushed(2), pushed(1)):
        assert line.add(each)

    assert [each.key for each in line.leave(3)] == ["0-1", "0-2", "0-3"]
    assert [each.key for each in line.leave(3)] == ["1-1"]
    assert len(line) == 0


def test_of_messages_of_one_age_the_first_to_come_is_first() -> None:
    line = WaitingLine()
    waiting = [pushed(1) for _ in range(5)]
    for each in waiting:
        line.add(each)

    assert line.leave(5) == waiting


def test_the_line_has_a_bound_in_messages_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_line, "MAX_WAITING", 3)
    monkeypatch.setattr(push_line, "MAX_WAITING_BYTES", 10)
    line = WaitingLine()
    large = pushed(1, body="x" * 9)
    assert line.add(large)
    assert not line.add(pushed(2, body="xx"))
    line.remove(large)
    assert large.line is None

    assert [line.add(pushed(each, body="xx")) for each in range(4)] == [True, True, True, False]


def test_a_message_without_room_comes_again_by_the_pace_of_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(push_line, "clock", lambda: now)
    line = WaitingLine()
    for each in range(20):
        line.add(pushed(each))
    for _ in range(40):
        now += 10.0
        line.leave(1)
        line.add(pushed(1_000))

    delays = [line.delay(pushed(published)) for published in (-1, 1_000_000)]
    assert delays == [5, BUSY_MAX]
    fast = WaitingLine()
    for each in range(100):
        now += 0.01
        fast.add(pushed(each))
        fast.leave(1)
    assert fast.delay(pushed(1)) == BUSY_MIN
