"""Tells which stages of a request take its time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()


class Stages:
    """Seconds by stage. Time in a stage that another is begun in counts for that other alone.

    >>> stages = Stages()
    >>> with stages.within("copy"):
    ...     for packet in stages.each("sound", packets):
    ...         write(packet)
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = time.monotonic()

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block for the stage `name`."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
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

    def _count(self) -> None:
        now = time.monotonic()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
