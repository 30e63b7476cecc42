"""The steps that wait to run in this process, handed out by turns: client by client, job by job."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Steps that are made together.
Group = Sequence[str]


@dataclass
class Turns:
    """A queue of groups of steps. A client waits for one group of each other client at most.

    >>> turns.add("ann", "job", ["step"])
    >>> turns.next()
    ['step']
    """

    _clients: "OrderedDict[str, OrderedDict[str, deque[Group]]]" = field(
        default_factory=OrderedDict
    )

    def add(self, client: str, job_id: str, group: Group) -> None:
        """Have a group wait for its turn."""
        of_client = self._clients.setdefault(client, OrderedDict())
        of_client.setdefault(job_id, deque()).append(group)

    def next(self) -> Group:
        """Take the next group. Raises KeyError when none waits."""
        client, of_client = self._clients.popitem(last=False)
        job_id, groups = of_client.popitem(last=False)
        group = groups.popleft()
        # Who has more goes to the end of the line.
        if groups:
            of_client[job_id] = groups
        if of_client:
            self._clients[client] = of_client
        return group
