"""Ending deliveries: the one way to ack, requeue or reject a message, or to extend its lease."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.leases.ack_batcher import AckBatcher
from cutmv.transports.cloudflare.leases.delivery import Delivery
from cutmv.transports.cloudflare.leases.ledger import Ledger
from cutmv.transports.cloudflare.leases.renewer import LeaseRenewer


class Acknowledger:
    """Ends deliveries, each once. Threads share it; its owner closes it.

    **What goes through the ledger.** Where there is a ledger, a delivery that this process owns is
    ended there first, and then at Cloudflare, if the ledger has a record of ours, or if the lease's
    time is over: another consumer may have taken the message meanwhile, and then it is not ended
    here. Any other delivery is ended at Cloudflare alone: nobody else can have a message whose
    lease is not over, and one that is not owned is not ours to speak for.

    `ack`, `requeue` and `reject` only hand over. They neither block nor take a lock, since a weak
    reference's callback may call them, wherever the garbage collector happens to run.

    `linger` is how many seconds an ack waits for others to share a call with. `discard` is given
    the keys of objects whose messages are gone. `open_ledger` opens the ledger, whose records are
    written for `lease_seconds`; none where there is no ledger.
    """

    def __init__(
        self,
        client: Client,
        linger: float,
        discard: Callable[[Sequence[str]], None] = lambda _: None,
        open_ledger: Callable[[], Ledger] | None = None,
        lease_seconds: float = 0.0,
    ) -> None:
        self._discard = discard
        self._renewer: LeaseRenewer | None = None
        if open_ledger is not None:
            self._renewer = LeaseRenewer(open_ledger, self._end_now, lease_seconds)
        self._batcher = AckBatcher(client, linger, discard, self._note_done)

    @property
    def has_ledger(self) -> bool:
        """Whether leases are extended, and other consumers' are known."""
        return self._renewer is not None

    def start(self) -> None:
        """Start the thread that calls Cloudflare. Nothing can be extended by that."""
        self._batcher.start()

    def start_extending(self) -> None:
        """Start all threads, and open the ledger; raises as `ledger.open_ledger` does."""
        self.start()
        if self._renewer is not None:
            self._renewer.start()

    def take(self, delivery: Delivery, allowed: int) -> float | None:
        """Ask the ledger for a message that was delivered before; see `LeaseRenewer.take`."""
        return 0.0 if self._renewer is None else self._renewer.take(delivery, allowed)

    def extend(self, *deliveries: Delivery, at_once: bool = False) -> None:
        """Keep leases by records in the ledger from now on, until the deliveries end.

        With `at_once` the records are written now, since the messages are about to be delivered
        again; otherwise when half of the lease is over. Without a ledger nothing can extend them.
        """
        if self._renewer is not None:
            self._renewer.extend(deliveries, at_once=at_once)

    def ack(self, delivery: Delivery) -> None:
        """Have the message removed: it is done."""
        self._end(delivery, None)

    def reject(self, delivery: Delivery) -> None:
        """Have the message removed: nobody will run it. Its sender, or a copy, knows why."""
        self._end(delivery, None)

    def requeue(self, delivery: Delivery, delay: float = 0.0) -> None:
        """Have the message returned to its queue, to be delivered `delay` seconds from then."""
        self._end(delivery, delay)

    def flush_calls(self, timeout: float) -> bool:
        """Wait until Cloudflare has accepted all that the ledger need not know; tell whether so."""
        return self._batcher.flush(timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until Cloudflare has accepted all that was handed over; tell whether it did."""
        deadline = time.monotonic() + timeout
        if self._renewer is not None:
            self._renewer.flush(timeout)
        return self._batcher.flush(max(0.0, deadline - time.monotonic()))

    def close(self, timeout: float) -> None:
        """Hand in what is left and end the threads, each within `timeout` seconds."""
        if self._renewer is not None:
            self._renewer.close(timeout)
        self._batcher.close(timeout)

    def _end(self, delivery: Delivery, delay: float | None) -> None:
        lease, renewer = delivery.lease, self._renewer
        if renewer is not None and delivery.owned:
            renewer.forget(delivery)
            if lease.lost:
                return
            if lease.version is not None or time.monotonic() >= lease.until:
                renewer.end(delivery, delay)
                return
        self._end_now(delivery, delay)

    def _end_now(self, delivery: Delivery, delay: float | None) -> None:
        """End a delivery at Cloudflare: by the connection that pushed it, or by the API."""
        if delivery.on_end is None:
            self._batcher.add(delivery, delay)
            return
        if delay is None and delivery.object_key:
            self._discard([delivery.object_key])
        delivery.on_end(delivery, delay)

    def _note_done(self, deliveries: list[Delivery]) -> None:
        """Have the ledger know that messages are done while Cloudflare does not take their acks."""
        if self._renewer is not None:
            self._renewer.note_done([each for each in deliveries if each.owned])
