"""How long a poller leaves a queue in peace whose consumers the hub wakes up."""

from __future__ import annotations

from typing import Any

import pytest

from cutmv.transports.cloudflare.api.habits import PullHabits
from cutmv.transports.cloudflare.api.responses import Pulled
from cutmv.transports.cloudflare.consumer.poller import Poller
from cutmv.transports.cloudflare.options import Options


class Anything:
    """Stands in for what a poller is given and does not decide by."""

    def __getattr__(self, _name: str) -> Any:
        return Anything()

    def __call__(self, *_args: Any, **_options: Any) -> Any:
        return Anything()


class Room(Anything):
    def reserve(self, _fetcher: Any) -> int:
        return 1


class Hub(Anything):
    connected = True


class Cloudflare(Anything):
    """Pulls bring nothing; each says what it counts."""

    def __init__(self, *backlogs: int | None) -> None:
        self.habits = PullHabits()
        self.backlogs = list(backlogs)

    def pull(self, *_args: Any) -> Pulled:
        backlog = self.backlogs.pop(0) if len(self.backlogs) > 1 else self.backlogs[0]
        answer = Pulled([], backlog)
        self.habits.learn(answer)
        return answer


class Waits:
    """Notes how long the poller means to wait, and ends it at some point."""

    def __init__(self, poller: Poller, most: int) -> None:
        self.poller, self.most = poller, most
        self.seconds: list[float] = []

    def clear(self) -> None:
        pass

    def set(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        if len(self.seconds) >= self.most:
            raise KeyboardInterrupt
        return False


def last_wait(*backlogs: int | None) -> float:
    """The seconds between pulls once the poller has come to rest."""
    poller = Poller(
        [Anything()],  # type: ignore[list-item]
        client=Cloudflare(*backlogs),  # type: ignore[arg-type]
        directory=Anything(),  # type: ignore[arg-type]
        acknowledger=Anything(),  # type: ignore[arg-type]
        hub=Hub(),  # type: ignore[arg-type]
        qos=Room(),  # type: ignore[arg-type]
        options=Options(),
        on_deliveries=lambda _: None,
        on_error=lambda _: None,
    )
    waits = Waits(poller, 20)
    poller._wake_up = waits  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        poller._pull_on()
    return waits.seconds[-1]


def test_an_empty_queue_is_pulled_once_a_minute_where_its_count_has_proved_right() -> None:
    assert last_wait(1, 1, 1, 0) == 60


def test_no_message_waits_for_a_minute_on_a_count_that_has_not() -> None:
    assert last_wait(0) == 5


@pytest.mark.parametrize("backlog", [None, 1])
def test_a_queue_that_may_hold_messages_is_pulled_as_without_a_hub(backlog: int | None) -> None:
    assert last_wait(backlog) <= 1
