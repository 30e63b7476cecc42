"""Spans of time in which something holds, such as black or silence."""

from __future__ import annotations


class Spans:
    """Collects the spans, in seconds, in which what is noted holds for `shortest_s` at least."""

    def __init__(self, shortest_s: float) -> None:
        self._shortest_s = shortest_s
        self._since: float | None = None
        self.found: list[tuple[float, float]] = []

    def note(self, at: float, holds: bool) -> None:
        """Note that it holds, or does not, from `at` on."""
        if holds and self._since is None:
            self._since = at
        elif not holds and self._since is not None:
            if at - self._since >= self._shortest_s:
                self.found.append((self._since, at))
            self._since = None

    def end(self, at: float) -> list[tuple[float, float]]:
        """Return all spans; what still holds ends at `at`."""
        self.note(at, False)
        return self.found
