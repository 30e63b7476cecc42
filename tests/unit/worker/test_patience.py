"""Patience with a neighbour that is away: what is waited for, for how long, and what is told."""

from __future__ import annotations

import errno
import logging

import pytest
from sqlalchemy.exc import OperationalError

from cutmv.media import MediaUnavailable, NoRoom, SourceUnavailable
from cutmv.media.errors import NO_ROOM_ERRNOS
from cutmv.storage import ObjectNotFound, StorageError, StorageUnavailable
from cutmv.worker import patience
from cutmv.worker.patience import DATABASE, ROOM, STORAGE, Patience, answered, neighbour_away


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.01)
    for name in (STORAGE, DATABASE):
        answered(name)


class Neighbour:
    """Fails with `error` the first `times`, then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "answer"


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (StorageUnavailable("away"), STORAGE),
        (SourceUnavailable("away"), STORAGE),
        (OperationalError("select 1", {}, Exception()), DATABASE),
        (ObjectNotFound("gone"), None),
        (StorageError("refused"), None),
        (MediaUnavailable("no memory"), None),
        (NoRoom("no space left"), ROOM),
        (RuntimeError("can't start new thread"), ROOM),
        (RuntimeError("a bug"), None),
        *((OSError(number, "full"), ROOM) for number in NO_ROOM_ERRNOS),
        (OSError(errno.EIO, "broken"), None),
        (ValueError("a bug"), None),
    ],
)
def test_only_a_neighbour_that_does_not_answer_is_waited_for(
    error: Exception, away: str | None
) -> None:
    assert neighbour_away(error) == away
    neighbour, waits = Neighbour(error, times=3), []
    call = Patience(5.0, stopping=lambda: False).call

    if away is None:
        with pytest.raises(type(error)):
            call(STORAGE, neighbour, waits.append)
        assert (neighbour.calls, waits) == (1, [])
    else:
        assert call(STORAGE, neighbour, waits.append) == "answer"
        assert (neighbour.calls, waits) == (4, [away] * 3)


def test_patience_has_an_end_which_many_calls_share() -> None:
    calls = Patience(0.05, stopping=lambda: False)
    assert calls.call(STORAGE, Neighbour(StorageUnavailable("away"), times=3)) == "answer"

    neighbour = Neighbour(StorageUnavailable("away"), times=100)
    with pytest.raises(StorageUnavailable):
        calls.call(STORAGE, neighbour)

    assert neighbour.calls < 10


def test_a_process_that_wants_to_end_does_not_wait() -> None:
    neighbour = Neighbour(StorageUnavailable("away"), times=100)

    with pytest.raises(StorageUnavailable):
        Patience(60.0, stopping=lambda: True).call(STORAGE, neighbour)

    assert neighbour.calls == 1


def test_an_outage_is_told_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        neighbour = Neighbour(StorageUnavailable("The storage can't read: Refused."), times=5)
        Patience(5.0, stopping=lambda: False).call(STORAGE, neighbour)
        Patience(5.0, stopping=lambda: False).call(STORAGE, lambda: None)

    assert (
        caplog.messages
        == [
            "the storage is away: The storage can't read: Refused; steps wait for it",
            "the storage answers again, after 0 s",
        ]
        * 2
    )


def test_the_log_has_no_statement_of_the_database(caplog: pytest.LogCaptureFixture) -> None:
    error = OperationalError("select secret", {"password": "hush"}, Exception("hush"))

    Patience(5.0, stopping=lambda: False).call(DATABASE, Neighbour(error, times=1))

    assert caplog.messages[0] == "the database is away: OperationalError; steps wait for it"
