"""Turns: what waits to run in this process, handed out client by client, job by job."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Group = TypeVar("Group")


@dataclass(frozen=True)
class Turn(Generic[Group]):
    """What a client may run now; `alone` when it is all that this client waits for or runs."""

    client: str
    group: Group
    alone: bool


@dataclass
class Turns(Generic[Group]):
    """A queue of groups of steps, of which `most` run at once, and `more` of clients who run none.

    So a client waits for one group of each other client at most, and for none where few clients
    keep a machine busy: theirs may be slow, since they yield to it.

    >>> turns = Turns[str](most=2)
    >>> turns.add("ann", "job", "a step")
    >>> turns.next()
    Turn(client='ann', group='a step', alone=True)
    >>> turns.ended("ann")
    """

    most: int
    more: int = 0
    _waiting: "OrderedDict[str, OrderedDict[str, deque[Group]]]" = field(
        default_factory=OrderedDict
    )
    _running: Counter[str] = field(default_factory=Counter)

    def add(self, client: str, job_id: str, group: Group) -> None:
        """Have a group wait for its turn."""
        of_client = self._waiting.setdefault(client, OrderedDict())
        of_client.setdefault(job_id, deque()).append(group)

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
        return Turn(client, group, not of_client and self._running[client] == 1)

    def ended(self, client: str) -> None:
        """Note that a group of this client runs no more."""
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]

    def _client(self) -> str | None:
        """Whose turn it is."""
        running = self._running.total()
        if running < self.most:
            return next(iter(self._waiting), None)
        if running < self.most + self.more:
            return next((each for each in self._waiting if each not in self._running), None)
        return None
