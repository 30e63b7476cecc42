"""Those who look on, and what they have been told."""

from __future__ import annotations

import json
from typing import Any

from cutmv.progress import Ending, Live, Position, View


class Tab:
    """One tab of somebody's browser, and what it has been told."""

    def __init__(self, live: Live, view: View, at: Position | None = None) -> None:
        self.live, self.view = live, view
        #: What was not read yet.
        self.texts: list[str] = []
        self.ended: Ending | None = None
        live.watch(self, view, at)
        self.begun = self._taken()
        self.epoch, self.seq = self.begun[0]["epoch"], self.begun[0]["seq"]
        self.told: list[dict[str, Any]] = []

    def tell(self, text: str) -> None:
        assert self.ended is None
        self.texts.append(text)

    def end(self, why: Ending) -> None:
        self.ended = why

    def read(self) -> list[dict[str, Any]]:
        """Have the job store looked at, and read what is new."""
        self.live.look()
        return self.take()

    def take(self) -> list[dict[str, Any]]:
        """Read what is new."""
        found = self._taken()
        self.seq = max([self.seq, *(each["seq"] for each in found)])
        self.told += found
        return found

    def leave(self) -> None:
        self.live.leave(self)

    def _taken(self) -> list[dict[str, Any]]:
        texts, self.texts = self.texts, []
        return [json.loads(text) for text in texts]

    @property
    def at(self) -> Position:
        return Position(self.epoch, self.seq)


class Alone:
    """One who follows a job alone."""

    def __init__(self, live: Live, job_id: str, of: str | None = None) -> None:
        self.told: list[dict[str, Any]] = []
        self.ended: Ending | None = None
        live.follow(self, job_id, of)

    def tell(self, text: str) -> None:
        assert self.ended is None
        self.told.append(json.loads(text))

    def end(self, why: Ending) -> None:
        self.ended = why

    @property
    def percents(self) -> list[float]:
        return [each["percent"] for each in self.told if each["type"] == "progress"]
