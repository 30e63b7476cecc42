"""Walks through the list of queues page by page, while other processes may change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: Pages read of one list at most (an account has at most 10,000 queues).
MAX_PAGES = 1_000

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueuePage:
    """A page of the list of queues.

    `total_pages` and `total_count` are how many pages and queues there are, if the response says
    so.
    """

    queues: list[Document]
    total_pages: int | None = None
    total_count: int | None = None

    def is_last(self, number: int, seen: int, longest: int) -> bool:
        """Return whether no page follows this one, the `number`-th.

        The pages so far have held `seen` queues, and the longest of them `longest`. A server may
        make shorter pages than it was asked for, and what it tells may be missing or wrong: another
        page is asked for unless both agree that there is none, or this page is shorter than one
        before. The page after the last is empty, and a wrong guess costs that call.
        """
        if number < (self.total_pages or 0) or seen < (self.total_count or 0):
            return False
        if self.total_pages is not None and self.total_count is not None:
            return True
        return len(self.queues) < longest


def walk(read: Callable[[int], QueuePage]) -> Iterator[Document]:
    """Yield every queue once; `read` returns the page of a number, from 1 on.

    When a queue is deleted meanwhile, those behind it move forward, past the page that comes next.
    So when there are fewer queues than before, the page before is read again.
    """
    seen: set[str] = set()
    number, furthest, longest, total = 1, 0, 0, 0
    for _ in range(MAX_PAGES):
        page = read(number)
        fresh = [queue for queue in page.queues if queue["queue_id"] not in seen]
        seen.update(queue["queue_id"] for queue in fresh)
        yield from fresh
        longest = max(longest, len(page.queues))
        # A server that ignores paging repeats its page, which brings nothing fresh.
        if number > furthest and not fresh:
            return
        furthest = max(furthest, number)
        before, total = total, page.total_count or total
        if total < before and number > 1:
            number -= 1
            continue
        if page.is_last(number, len(seen), longest):
            return
        number += 1
