"""What pulls show of Cloudflare's ways, where they are not certain."""

from __future__ import annotations

from cutmv.transports.cloudflare.api.responses import Pulled

#: Pulls after which it is believed that backlogs count what can't be pulled yet.
ENOUGH_COUNTS = 3


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
