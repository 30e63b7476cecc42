"""What calls show of Cloudflare's ways, where they are not certain."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeVar

from cutmv.transports.cloudflare.api.responses import Pulled
from cutmv.transports.cloudflare.errors import Refused

logger = logging.getLogger(__name__)

#: Pulls after which it is believed that backlogs count what can't be pulled yet.
ENOUGH_COUNTS = 3

#: Seconds of a delay that Cloudflare surely takes, and by what a refused one is divided.
SURE_DELAY, SHORTER = 10, 4

T = TypeVar("T")


class PullHabits:
    """Learns from each pull how Cloudflare counts. Threads share it; a lost count does no harm."""

    def __init__(self) -> None:
        self._unready_counts = 0  # pulls that brought nothing from a queue which is not empty
        self._from_zero = False  # whether the `attempts` of a message's first delivery are 0

    def learn(self, answer: Pulled) -> None:
        """Learn from a pull, and have the attempts of its messages count from 1."""
        if answer.backlog and not answer.messages:
            self._unready_counts += 1
        if any(each.get("attempts") == 0 for each in answer.messages):
            self._from_zero = True
        if self._from_zero:
            for each in answer.messages:
                each["attempts"] = (each.get("attempts") or 0) + 1

    @property
    def counts_unready(self) -> bool:
        """Whether backlogs count what can't be pulled yet: delayed messages, and leased ones.

        Cloudflare is believed to do so. This is false until pulls have shown it.
        """
        return self._unready_counts >= ENOUGH_COUNTS


class DelayLimit:
    """The longest delay that Cloudflare takes, as far as calls have shown it.

    A message that comes before it is due is delayed again, so a shorter delay loses nothing.
    Threads share it.
    """

    def __init__(self) -> None:
        self._most = math.inf  # seconds; a whole number otherwise

    def keep(self, call: Callable[[float], T], longest: float) -> T:
        """Make a call with delays of up to `longest` seconds.

        `call` receives what none of its delays may exceed. If Cloudflare refuses the call, it is
        made again with short delays; if it takes that, the delay was too long, and is shorter in
        later calls. Raises what `call` raises.
        """
        asked = min(self._most, longest)
        try:
            return call(self._most)
        except Refused as refusal:
            if asked <= SURE_DELAY:
                raise
            answer = call(SURE_DELAY)
            self._most = min(self._most, max(SURE_DELAY, int(asked) // SHORTER))
            logger.warning(
                "cloudflare: a delay of %.0f s is refused (%s): delays are of %d s at most now, "
                "and a message is delayed again until it is due",
                asked,
                refusal,
                self._most,
            )
            return answer
