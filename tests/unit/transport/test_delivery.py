"""What becomes of a delivery whose message goes on as a copy."""

from __future__ import annotations

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery, Lease
from cutmv.transports.cloudflare.options import Options


def test_what_goes_on_as_a_copy_keeps_its_object_and_counts_as_not_done() -> None:
    client = Client(Credentials("account", "token"), Options())
    discarded: list[str] = []
    ended: list[tuple[bool, float | None]] = []
    acknowledger = Acknowledger(client, 0.0, discarded.extend)
    delivery = Delivery(
        Lease("", "lease", key="message"),
        object_key="large-messages/0",
        on_end=lambda each, delay: ended.append((each.copied, delay)),
    )

    delivery.leave_to_copy()
    acknowledger.reject(delivery)
    client.close()

    assert discarded == []
    # In push mode a message that is acked counts as done, unless it goes on as a copy.
    assert ended == [(True, None)]
