"""When the transport calls: pulls that follow each other, acks that share a call."""

from __future__ import annotations

import time
from collections.abc import Iterator

import kombu
import pytest

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery, Lease
from cutmv.transports.cloudflare.options import Options
from tests.support.emulator import EmulatorProcess
from tests.support.transport import connect, wait_until

#: Seconds that no test waits for: what happens sooner did not wait for it.
LONG = 60.0


@pytest.fixture
def client(emulator: EmulatorProcess) -> Iterator[Client]:
    options = Options(api_base_url=emulator.base_url)
    client = Client(Credentials(emulator.account_id, emulator.api_token), options)
    yield client
    client.close()


@pytest.fixture
def acks(client: Client) -> Iterator[Acknowledger]:
    """An acknowledger that waits for long, unless a call is full."""
    acks = Acknowledger(client, LONG)
    acks.start()
    yield acks
    acks.close(5)


def _leases(client: Client, count: int) -> list[Delivery]:
    """Publish messages to a new queue, and lease them."""
    deadline = time.monotonic() + LONG
    queue_id = client.create_queue("work", deadline)["queue_id"]
    client.create_consumer(queue_id, {"type": "http_pull"}, deadline)
    leases: list[Delivery] = []
    while len(leases) < count:
        batch = min(100, count - len(leases))
        client.publish(queue_id, [("text", None)] * batch, deadline)
        pulled = client.pull(queue_id, batch, LONG, deadline).messages
        leases += [Delivery.pulled(queue_id, each) for each in pulled]
    return leases


def test_acks_that_fill_a_call_go_at_once_and_the_rest_waits_for_others(
    emulator: EmulatorProcess, client: Client, acks: Acknowledger
) -> None:
    first, *others = _leases(client, 251)
    acks.ack(first)
    wait_until(lambda: emulator.stats()["acked"] == 1, 10, "the first goes at once")
    for lease in others:
        acks.ack(lease)
    wait_until(lambda: emulator.stats()["acked"] == 201, 10, "two full calls have been made")
    assert acks.flush(5)
    stats = emulator.stats()
    assert stats["acked"] == 251
    assert stats["calls"]["ack"] == {"200": 4}


def test_acks_one_after_another_fill_a_call_too(
    emulator: EmulatorProcess, client: Client, acks: Acknowledger
) -> None:
    first, *others = _leases(client, 101)
    acks.ack(first)
    wait_until(lambda: emulator.stats()["acked"] == 1, 10, "the first goes at once")
    for lease in others:
        time.sleep(0.001)
        acks.ack(lease)
    wait_until(lambda: emulator.stats()["acked"] == 101, 10, "the full call has been made")
    assert emulator.stats()["calls"]["ack"] == {"200": 2}


def test_a_pull_that_brought_something_is_followed_by_the_next_at_once(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator, polling_interval_min=LONG, polling_interval_max=LONG) as connection:
        queue = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")
        connection.Producer().publish(
            "a", exchange=queue.exchange, routing_key="work", declare=[queue]
        )
        with kombu.Consumer(connection, [queue], on_message=kombu.Message.ack):
            connection.drain_events(timeout=10)
            wait_until(lambda: emulator.stats()["calls"]["pull"] == {"200": 2}, 10)


def test_a_queue_whose_acks_fail_holds_up_no_other_s(
    client: Client, emulator: EmulatorProcess
) -> None:
    acks = Acknowledger(client, 0.05)
    acks.start()
    try:
        (good,) = _leases(client, 1)
        # A queue of which Cloudflare answers something odd, again and again.
        bad = Delivery(Lease("0" * 32, "no lease"))
        emulator.faults({"route": "ack", "kind": "500", "count": 1})
        acks.ack(bad)
        wait_until(lambda: emulator.faults_in_force()[0]["fired"], what="its ack failed")
        acks.ack(good)

        wait_until(lambda: emulator.stats()["acked"] == 1, 5, "the other is acked")
    finally:
        acks.close(5)
