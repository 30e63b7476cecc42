"""Tells which stages of a request take its time, and how much of each is which output's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()
#: The stage of time that is in no other.
OTHER = "other"


class Stages:
    """Seconds by output and by stage, which add up to all that passed `since` (s, monotonic).

    Time in a stage that another is begun in counts for that other alone. Time in which one output
    alone is made is its own; all other time is divided among those that are `left` to be made then,
    by their weights.

    >>> stages = Stages(lambda: {"a.mp4": 3.0, "b.gif": 1.0})
    >>> with stages.within("encode"):
    ...     decode()
    ...     with stages.of("b.gif"), stages.within("write"):
    ...         write()
    """

    def __init__(self, left: Callable[[], Mapping[str, float]], since: float | None = None) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self._left = left
        self._open = [OTHER]
        self._owner: str | None = None
        self._since = time.monotonic() if since is None else since

    @contextmanager
    def of(self, path: str) -> Iterator[None]:
        """Count the time of a `with` block for the output at `path` alone."""
        self.count()
        before, self._owner = self._owner, path
        try:
            yield
        finally:
            self.count()
            self._owner = before

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block for the stage `name`."""
        self.count()
        self._open.append(name)
        try:
            yield
        finally:
            self.count()
            self._open.pop()

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield items, and count for the stage `name` the time that it takes to make each."""
        iterator = iter(items)
        while True:
            with self.within(name):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]

    def count(self) -> None:
        """Count the time until now."""
        now = time.monotonic()
        spent, self._since = now - self._since, now
        shares = {self._owner: 1.0} if self._owner else self._left()
        whole, name = sum(shares.values()), self._open[-1]
        for path, share in shares.items():
            seconds = self.seconds.setdefault(path, {})
            seconds[name] = seconds.get(name, 0.0) + spent * share / whole
