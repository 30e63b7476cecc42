"""The order of messages that wait in this process: by priority, then by age.

0 is the most urgent and 9 the least, as in kombu's Redis transport.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

#: The least urgent priority.
LEAST_URGENT = 9

T = TypeVar("T")


def of(message: Mapping[str, Any]) -> int:
    """Return the priority of kombu's `message`: 0 to 9, and 0 for one that names none."""
    try:
        return max(0, min(LEAST_URGENT, int(message["properties"]["priority"])))
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0


class Waiting(Generic[T]):
    """Items that wait: the most urgent first, of equal ones the oldest. Not thread-safe."""

    def __init__(self) -> None:
        self._by_priority: dict[int, deque[T]] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._by_priority.values()))

    def __iter__(self) -> Iterator[T]:
        """Yield the items, in their order."""
        for priority in sorted(self._by_priority):
            yield from self._by_priority[priority]

    @property
    def first(self) -> int:
        """The priority of the next item; there must be one."""
        return min(self._by_priority)

    def add(self, item: T, priority: int) -> None:
        """Add an item behind those of its priority."""
        self._by_priority.setdefault(priority, deque()).append(item)

    def put_back(self, item: T, priority: int) -> None:
        """Add an item before those of its priority."""
        self._by_priority.setdefault(priority, deque()).appendleft(item)

    def take(self) -> T:
        """Remove and return the next item; raises `IndexError` where there is none."""
        if not self._by_priority:
            raise IndexError("nothing waits")
        return self._pop(min(self._by_priority))

    def drop_oldest(self) -> None:
        """Remove the oldest of the least urgent items."""
        self._pop(max(self._by_priority))

    def clear(self) -> None:
        """Remove all items."""
        self._by_priority.clear()

    def _pop(self, priority: int) -> T:
        items = self._by_priority[priority]
        item = items.popleft()
        if not items:
            del self._by_priority[priority]
        return item
