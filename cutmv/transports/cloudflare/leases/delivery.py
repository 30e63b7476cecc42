"""One delivery of a message to this process, and the right to end it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Lease:
    """The right to end one delivery of a message.

    Attributes:
        queue_id: The queue that the message was pulled from; empty where it was pushed.
        lease_id: Cloudflare's handle for an ack; in push mode one of our own.
        key: The message, by its publisher's id; empty where no ledger has to know it.
        until: When the right ends, of `time.monotonic`.
        version: Of our record in the ledger, once there is one (see `renewer`).
        losses: How many consumers were lost that held the message before.
        noted: Whether the ledger is told that the message is done before its ack is accepted.
        lost: Whether another consumer has the message now.
    """

    queue_id: str
    lease_id: str
    key: str = ""
    until: float = math.inf
    version: str | None = None
    losses: int = 0
    noted: bool = False
    lost: bool = False


@dataclass(slots=True, eq=False)
class Delivery:
    """A message, the lease on it, and where it came from. An `Acknowledger` ends it, once.

    Attributes:
        lease: The right to end it.
        entry: The message as the API has it (an entry of a pull's answer).
        message: kombu's message that was read from it; empty until it was read.
        object_key: Of the object that the message came from, and that ends with it.
        owned: Whether this process may run the message. Intake clears it where another consumer
            has the message, where it is done, or where nobody can read it: then the ledger has
            nothing to be told.
        on_end: In push mode, the connection that is told how the message ended, in place of the
            API: the delay (s) until it comes again, or none for an ack. It must not block.
        on_lost: Told when another consumer has the message.
    """

    lease: Lease
    entry: Mapping[str, Any] = field(default_factory=dict)
    message: dict[str, Any] = field(default_factory=dict)
    object_key: str | None = None
    owned: bool = True
    on_end: Callable[[Delivery, float | None], None] | None = None
    on_lost: Callable[[Delivery], None] | None = None

    @classmethod
    def pulled(cls, queue_id: str, entry: Mapping[str, Any], until: float = math.inf) -> Delivery:
        """Return the delivery of an entry of a pull's answer, leased `until` then."""
        return cls(Lease(queue_id, entry["lease_id"], until=until), entry)

    def leave_to_copy(self) -> None:
        """Note that the message goes on as a copy, to which its object and its id now belong.

        Ending this delivery then removes no object, and no copy is taken for one that has run.
        """
        self.owned, self.object_key, self.lease.key = False, None, ""

    @property
    def attempts(self) -> int:
        """How often Cloudflare has delivered the message, this time included."""
        return int(self.entry.get("attempts") or 1)
