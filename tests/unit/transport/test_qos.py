import functools
import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.leases import Acknowledger, Delivery, Lease
from cutmv.transports.cloudflare.options import Options


class Message:
    """What is given to a consumer: all that matters here is that it can be dropped."""

    def __init__(self, tag: str) -> None:
        self.delivery_tag = tag


@dataclass(eq=False)
class Fetcher:
    stopped: bool = False
    busy: bool = False


@pytest.fixture
def acks() -> Iterator[Acknowledger]:
    """An acknowledger whose thread is not started, so that what it is handed stays to be seen."""
    client = Client(Credentials("account", "token"), Options())
    yield Acknowledger(client, linger=0)
    client.close()


def _handed_over(acks: Acknowledger) -> list[tuple[str, bool]]:
    """What Cloudflare would be told: the lease, and whether it was an ack."""
    told = []
    while acks._batcher._handed_over:
        ending = acks._batcher._handed_over.popleft()
        told.append((ending.delivery.lease.lease_id, ending.delay is None))
    return told


def _delivery(lease_id: str) -> Delivery:
    return Delivery(Lease("q", lease_id))


def _qos(acks: Acknowledger, prefetch: int, linger: float = 0.0) -> QoS:
    qos = QoS(None, acks, linger)
    qos.prefetch_count = prefetch
    return qos


def test_room_is_what_is_neither_held_nor_on_its_way(acks: Acknowledger) -> None:
    qos, fetcher = _qos(acks, 10), Fetcher()

    assert qos.reserve(fetcher) == 10
    assert not qos.can_consume()
    qos.unreserve(7)
    assert qos.can_consume_max_estimate() == 7
    message = Message("a")
    qos.hold(message, _delivery("a"))
    qos.unreserve(1)
    assert qos.can_consume_max_estimate() == 7
    qos.ack("a")
    assert qos.can_consume_max_estimate() == 8


def test_an_ack_lets_a_waiting_fetcher_go_on(acks: Acknowledger) -> None:
    qos, fetcher = _qos(acks, 1), Fetcher()
    message = Message("a")
    qos.hold(message, _delivery("a"))
    threading.Timer(0.05, qos.ack, ["a"]).start()

    assert qos.reserve(fetcher) == 1


def test_a_stopped_fetcher_gets_nothing(acks: Acknowledger) -> None:
    qos, fetcher = _qos(acks, 1), Fetcher()
    message = Message("a")
    qos.hold(message, _delivery("a"))

    def stop() -> None:
        fetcher.stopped = True
        qos.wake()

    threading.Timer(0.05, stop).start()

    assert qos.reserve(fetcher) == 0


def test_busy_queues_share_the_room_and_an_idle_one_leaves_it(acks: Acknowledger) -> None:
    qos, one, other = _qos(acks, 10), Fetcher(), Fetcher()
    qos.join(one)
    qos.join(other)

    one.busy = other.busy = True
    assert qos.reserve(one) == 5
    qos.unreserve(5)
    one.busy = False
    assert qos.reserve(one) == 1
    qos.unreserve(1)
    one.busy, other.busy = True, False
    assert qos.reserve(one) == 10


def test_without_a_limit_only_what_was_not_given_out_counts(acks: Acknowledger) -> None:
    qos, fetcher = _qos(acks, 0), Fetcher()

    assert qos.reserve(fetcher) == 100
    messages = [Message(str(n)) for n in range(100)]
    for message in messages:
        qos.hold(message, _delivery(message.delivery_tag))
        qos.unreserve(1)

    assert qos.reserve(fetcher) == 100


def test_acks_rejects_and_requeues_end_the_lease_once(acks: Acknowledger) -> None:
    qos = _qos(acks, 10)
    messages = [Message(tag) for tag in "abc"]
    for message in messages:
        qos.hold(message, _delivery(message.delivery_tag))

    qos.ack("a")
    qos.ack("a")
    qos.reject("b")
    qos.reject("c", requeue=True)

    assert _handed_over(acks) == [("a", True), ("b", True), ("c", False)]


def test_a_dropped_message_goes_back_only_once_consuming_has_ended(acks: Acknowledger) -> None:
    qos = _qos(acks, 10)
    kept, early, late = Message("kept"), Message("early"), Message("late")
    for message in (kept, early, late):
        qos.hold(message, _delivery(message.delivery_tag))

    del early, message
    gc.collect()
    assert _handed_over(acks) == []
    qos.return_dropped()
    assert _handed_over(acks) == [("early", False)]
    del late
    gc.collect()
    assert _handed_over(acks) == [("late", False)]
    qos.ack("kept")
    assert _handed_over(acks) == [("kept", True)]


def test_closing_returns_what_is_still_held(acks: Acknowledger) -> None:
    qos = _qos(acks, 10)
    message = Message("a")
    qos.hold(message, _delivery("a"))

    qos.restore_unacked_once()

    assert _handed_over(acks) == [("a", False)]


def test_a_message_that_a_poller_fetched_takes_the_room_reserved_for_it(acks: Acknowledger) -> None:
    qos, message = _qos(acks, 10), Message("a")

    assert qos.reserve(Fetcher()) == 10
    qos.hold(message, _delivery("a"), fetched=True)
    assert qos.can_consume_max_estimate() == 0
    qos.unreserve(9)
    assert qos.can_consume_max_estimate() == 9


def test_a_dropped_message_is_the_end_of_what_outlives_the_channel(acks: Acknowledger) -> None:
    qos, ended = _qos(acks, 10), threading.Event()
    message = Message("a")
    qos.hold(message, _delivery("a"))
    qos.return_dropped()
    assert qos.outlive(ended.set)

    del message
    gc.collect()

    assert ended.wait(10)
    assert _handed_over(acks) == [("a", False)]


@pytest.mark.parametrize("is_ack", [True, False])
def test_what_outlives_the_channel_ends_once_the_last_end_is_handed_over(
    acks: Acknowledger, is_ack: bool
) -> None:
    qos, before = _qos(acks, 10), []
    message = Message("a")
    qos.hold(message, _delivery("a"))
    assert qos.outlive(lambda: before.extend(_handed_over(acks)))

    if is_ack:
        qos.ack("a")
    else:
        qos.reject("a", requeue=True)
    assert before == [("a", is_ack)]


def test_with_nothing_held_nothing_outlives_the_channel(acks: Acknowledger) -> None:
    qos, calls = _qos(acks, 10), []
    assert not qos.outlive(lambda: calls.append("ended"))
    qos.ack("unknown")
    assert calls == []


def test_threads_that_settle_the_last_messages_at_once_tell_it_once(acks: Acknowledger) -> None:
    for _ in range(200):
        qos, calls = _qos(acks, 0), []
        messages = [Message(str(number)) for number in range(8)]
        for message in messages:
            qos.hold(message, _delivery(message.delivery_tag))
        start = threading.Barrier(len(messages) + 1)

        def ack(tag: str, qos: QoS = qos, start: threading.Barrier = start) -> None:
            start.wait()
            qos.ack(tag)

        threads = [threading.Thread(target=ack, args=[m.delivery_tag]) for m in messages]
        for thread in threads:
            thread.start()
        start.wait()
        outlives = qos.outlive(functools.partial(calls.append, "ended"))
        for thread in threads:
            thread.join()
        assert len(calls) == outlives, "whoever closes what is shared does it once"


def test_room_is_for_no_more_than_the_worker_can_start(acks: Acknowledger) -> None:
    qos, fetcher = _qos(acks, 8), Fetcher()
    running = 0
    qos.limit_to_slots(lambda: 2 - running)

    assert qos.reserve(fetcher) == 2
    assert not qos.can_consume()
    qos.unreserve(2)
    running = 1
    assert qos.reserve(fetcher, most=5) == 1


def test_a_free_slot_of_which_nobody_tells_is_seen_soon(acks: Acknowledger) -> None:
    qos, fetcher = _qos(acks, 8), Fetcher()
    running = 2
    qos.limit_to_slots(lambda: 2 - running)
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(qos.reserve(fetcher, linger=0.0)))
    thread.start()
    running = 1  # an early ack told of the start, and nobody tells of the end
    thread.join(5)
    assert got == [1]
