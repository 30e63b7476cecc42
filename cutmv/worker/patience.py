"""Patience: what a step does while a neighbour is away, or its machine full: it is no failure.

A worker whose storage or database does not answer keeps its step and asks again each second: all
other steps need the same neighbour, so its place is of no use to them. When it has waited for long
it gives the step back, since its process may be told to end, and its task has a time limit.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from cutmv.database import DATABASE_AWAY, cause, passes
from cutmv.jobs import WAITS_FOR_ROOM, WAITS_FOR_STORAGE
from cutmv.logs import Outage
from cutmv.media import SourceUnavailable, no_room
from cutmv.storage import NoSpace, StorageUnavailable

#: Seconds that a run waits for its neighbours, all in all, before it gives its step back.
PATIENCE_S = 20.0
#: Seconds between two attempts.
PAUSE_S = 1.0
#: Seconds of a cut that failed which count as waiting, at most.
MAX_CALL_S = 5.0

#: What a step waits for; a full machine is waited for like a neighbour.
NEIGHBOURS = STORAGE, DATABASE, ROOM = "storage", "database", "room on this machine"
#: The stage of a step that waits for it; without the database nobody can be told.
STAGES = {STORAGE: WAITS_FOR_STORAGE, ROOM: WAITS_FOR_ROOM}

T = TypeVar("T")
log = logging.getLogger(__name__)

_outages = {
    STORAGE: Outage(log, "the storage", "steps wait for it"),
    DATABASE: Outage(log, "the database", "steps wait for it"),
    ROOM: Outage(log, "room to work in on this machine", "free some: steps wait for it"),
}


def neighbour_away(error: BaseException) -> str | None:
    """What did not answer or has no room, one of STORAGE, DATABASE, ROOM; None for a failure."""
    if isinstance(error, NoSpace) or no_room(error):
        return ROOM
    if isinstance(error, StorageUnavailable | SourceUnavailable):
        return STORAGE
    return DATABASE if isinstance(error, DATABASE_AWAY) else None


def missed(name: str, error: BaseException) -> None:
    """Log that a neighbour does not answer, the first time."""
    # The message of a database's error has statements and addresses, that of the system a path.
    told = getattr(error, "strerror", None) or error
    _outages[name].began(cause(error) or type(error).__name__ if name == DATABASE else told)


def answered(name: str) -> None:
    """Log that a neighbour answers again, if it did not."""
    _outages[name].ended()


class Patience:
    """Makes calls again while a neighbour is away, for `seconds` all in all."""

    def __init__(self, seconds: float, *, stopping: Callable[[], bool]) -> None:
        self._left_s, self._stopping = seconds, stopping

    def call(
        self,
        needed: str,
        function: Callable[[], T],
        waits: Callable[[str], None] = lambda _: None,
    ) -> T:
        """What `function` returns, which may be called several times; it needs a neighbour.

        `waits` is told which neighbour is waited for. Raises what `function` raises, and the error
        of a neighbour that is away only when patience is at its end; that of a database at once
        where it does not pass by itself.
        """
        while True:
            began = time.monotonic()
            try:
                result = function()
            except Exception as error:
                away = neighbour_away(error)
                if away is None:
                    raise
                missed(away, error)
                if away == DATABASE and not passes(error):
                    raise
                waits(away)
                pause_s = random.uniform(0.5, 1.0) * PAUSE_S
                took_s = time.monotonic() - began
                # Calls of the database are short: the rest is waiting. A cut may have worked.
                self._left_s -= pause_s + (
                    took_s if needed == DATABASE else min(took_s, MAX_CALL_S)
                )
                if self._left_s < 0 or self._stopping():
                    raise
                time.sleep(pause_s)
            else:
                answered(needed)
                if needed == STORAGE:  # a cut, which needs room too
                    answered(ROOM)
                return result
