"""Turns: what waits to run in this process, handed out client by client, job by job."""

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

#: Seconds for which a client's work counts as somebody's that may come again.
LATELY_S = 300.0

Group = TypeVar("Group")


@dataclass(frozen=True)
class Turn(Generic[Group]):
    """What a client may run now; it `yields` when this client has more, and others have some."""

    client: str
    group: Group
    yields: bool


@dataclass
class Turns(Generic[Group]):
    """A queue of groups of steps, of which `most` run at once, and `more` of clients who run none.

    So a client waits for one group of each other client at most, and for none where few clients
    keep a machine busy: what it has yields to theirs.

    >>> turns = Turns[str](most=2)
    >>> turns.add("ann", "job", "a step")
    >>> turns.next()
    Turn(client='ann', group='a step', yields=False)
    >>> turns.ended("ann")
    """

    most: int
    more: int = 0
    clock: Callable[[], float] = time.monotonic
    _waiting: "OrderedDict[str, OrderedDict[str, deque[Group]]]" = field(
        default_factory=OrderedDict
    )
    _running: Counter[str] = field(default_factory=Counter)
    #: The last two clients who had something, and when.
    _lately: tuple[tuple[str, float], ...] = ()

    def add(self, client: str, job_id: str, group: Group) -> None:
        """Have a group wait for its turn."""
        of_client = self._waiting.setdefault(client, OrderedDict())
        of_client.setdefault(job_id, deque()).append(group)
        before = [each for each in self._lately if each[0] != client][-1:]
        self._lately = (*before, (client, self.clock()))

    def next(self) -> Turn[Group] | None:
        """Take the next group, which runs until `ended`; None while none may."""
        client = self._client()
        if client is None:
            return None
        of_client = self._waiting.pop(client)
        job_id, groups = of_client.popitem(last=False)
        group = groups.popleft()
        # Who has more goes to the end of the line.
        if groups:
            of_client[job_id] = groups
        if of_client:
            self._waiting[client] = of_client
        self._running[client] += 1
        has_more = bool(of_client) or self._running[client] > 1
        return Turn(client, group, has_more and self._others_have_some(client))

    def ended(self, client: str) -> None:
        """Note that a group of this client runs no more."""
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]

    def _others_have_some(self, client: str) -> bool:
        """Whether others have something to run here, or had it lately."""
        since = self.clock() - LATELY_S
        lately = any(each != client and at >= since for each, at in self._lately)
        return lately or any(each != client for each in self._running)

    def _client(self) -> str | None:
        """Whose turn it is."""
        running = self._running.total()
        if running < self.most:
            return next(iter(self._waiting), None)
        if running < self.most + self.more:
            return next((each for each in self._waiting if each not in self._running), None)
        return None
