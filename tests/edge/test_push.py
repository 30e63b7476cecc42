"""Push mode: from publishing to an ingress that answers as it likes."""

from __future__ import annotations

import json
import statistics
import time

import pytest

from cutmv.transports.cloudflare.edge.push_gate import DELIVERIES
from cutmv.transports.cloudflare.edge.signature import sign
from tests.support.edge_ingress import Ingress
from tests.support.edge_worker import KEY, OLD_KEY, Worker
from tests.support.processes import wait_for

pytestmark = pytest.mark.edge

#: Times that an invocation asks for the worker that may have its message (edge/src/limits.ts).
REJOINS = 3

#: Seconds that two clocks may differ in what they call a second.
SLACK_S = 0.05


def test_a_message_is_pushed_and_acked(worker: Worker, ingress: Ingress) -> None:
    before = time.time() * 1000
    worker.publish("edge-ack", "héllo\n\x7f \U0001f3ac")
    delivery = ingress.next("edge-ack")
    delivery.ack_all()
    (message,) = delivery.messages
    assert message["body"] == "héllo\n\x7f \U0001f3ac"
    assert message["content_type"] == "text"
    assert message["attempts"] == 1
    assert abs(message["timestamp_ms"] - before) < 60_000
    worker.wait_for_batches("edge-ack", "1/1")


def test_a_batch_is_signed_by_every_key(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-signed", "signed")
    delivery = ingress.next("edge-signed")
    delivery.ack_all()
    webhook_id, stamp = delivery.headers["webhook-id"], int(delivery.headers["webhook-timestamp"])
    assert delivery.headers["webhook-signature"].split(" ") == [
        sign(key, DELIVERIES, webhook_id, stamp, delivery.raw) for key in (KEY, OLD_KEY)
    ]
    assert abs(time.time() - stamp) < 60


def test_a_retry_comes_after_its_delay(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-retry", "later")
    first = ingress.next("edge-retry")
    told = time.monotonic()
    first.begin().say("retry", delay_seconds=2).end()
    second = ingress.next("edge-retry")
    second.ack_all()
    assert (second.bodies, second.attempts) == (["later"], [2])
    assert second.at - told >= 2 - SLACK_S


def test_a_retry_without_a_delay_comes_at_once(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-again", "again")
    first = ingress.next("edge-again")
    first.begin().say("retry").end()
    second = ingress.next("edge-again")
    second.ack_all()
    assert second.attempts == [2]
    # A message without an outcome would take five seconds.
    assert second.at - first.at < 4


@pytest.mark.slow
def test_a_busy_message_comes_when_it_is_told_and_is_sent_anew_before_its_retries_end(
    worker: Worker, ingress: Ingress
) -> None:
    worker.publish("edge-busy", "patience")
    gaps, ids, attempts, told = [], [], [], 0.0
    for _ in range(4):
        delivery = ingress.next("edge-busy")
        gaps.append(delivery.at - told)
        ids.append(delivery.messages[0]["id"])
        attempts += delivery.attempts
        told = time.monotonic()
        if len(ids) < 4:
            delivery.begin().say("busy", delay_seconds=1).end()
    delivery.ack_all()
    assert delivery.bodies == ["patience"]
    assert attempts == [1, 2, 3, 1]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert all(1 - SLACK_S <= gap <= 4 for gap in gaps[1:])
    worker.wait_for_batches("edge-busy", "0/1", "0/1", "1/1", "1/1")


def test_a_message_that_waits_for_room_is_posted_again_by_the_same_invocation(
    worker: Worker, ingress: Ingress
) -> None:
    worker.publish("edge-waits", "patience")
    seconds = []
    for turn in range(3):
        delivery = ingress.next("edge-waits")
        assert delivery.attempts == [1]
        seconds.append(json.loads(delivery.raw)["seconds"])
        delivery.begin().say("wait" if turn < 2 else "ack").end()
    assert 8 >= seconds[0] > seconds[1] > seconds[2] > 0
    worker.wait_for_batches("edge-waits", "1/1")


def test_an_ingress_that_says_when_to_come_back_is_obeyed(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-refused", "not now")
    first = ingress.next("edge-refused")
    told = time.monotonic()
    first.refuse(503, Retry_After="3")
    second = ingress.next("edge-refused")
    second.ack_all()
    assert second.attempts == [1]
    # Without the header it would be a second at most.
    assert second.at - told >= 3 - SLACK_S


def test_a_stream_that_breaks_is_joined_again_for_what_it_did_not_answer(
    worker: Worker, ingress: Ingress
) -> None:
    worker.publish("edge-broken", "a", "b", "c")
    first = ingress.next("edge-broken")
    assert first.bodies == ["a", "b", "c"]
    first.begin().write('{"worker": "one"}\n')
    first.say("ack", of=1)
    told = time.monotonic()
    first.break_off()
    second = ingress.next("edge-broken")
    assert json.loads(second.raw)["worker"] == "one"
    second.ack_all()
    assert (sorted(second.bodies), second.attempts) == (["a", "c"], [1, 1])
    assert second.at - told < 4
    worker.wait_for_batches("edge-broken", "3/3")


def test_a_stream_that_ends_early_is_joined_again_for_what_it_did_not_answer(
    worker: Worker, ingress: Ingress
) -> None:
    worker.publish("edge-cut", "a", "b", "c")
    ingress.next("edge-cut").begin().say("ack", of=0).end()
    second = ingress.next("edge-cut")
    second.ack_all()
    assert sorted(second.bodies) == ["b", "c"]
    worker.wait_for_batches("edge-cut", "3/3")


@pytest.mark.slow
def test_a_message_whose_worker_is_gone_comes_again(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-gone", "once")
    ingress.next("edge-gone").begin().break_off()
    told = time.monotonic()
    for _ in range(REJOINS):
        ingress.next("edge-gone").refuse(421)
    second = ingress.next("edge-gone")
    second.ack_all()
    assert second.attempts == [2]
    assert second.at - told >= 5 - SLACK_S


def test_messages_wait_for_an_ingress_that_is_down(worker: Worker, port_of_later: int) -> None:
    worker.publish("edge-down", "early")
    assert worker.process
    log = worker.process
    wait_for(lambda: '"queue":"edge-down"' in log.log, 20, "it is tried in vain")
    late = Ingress(port_of_later)
    try:
        delivery = late.next("edge-down")
        delivery.ack_all()
        assert (delivery.bodies, delivery.attempts) == (["early"], [1])
        worker.wait_for_batches("edge-down", "1/1")
    finally:
        late.close()


def test_heartbeats_keep_a_long_message(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-beats", "long")
    delivery = ingress.next("edge-beats").begin()
    end = time.monotonic() + 4  # twice as long as the Worker bears silence
    while time.monotonic() < end:
        delivery.beat()
        time.sleep(0.4)
    delivery.say("ack").end()
    worker.wait_for_batches("edge-beats", "1/1")


def test_silence_counts_as_a_broken_connection(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-silent", "hush")
    first = ingress.next("edge-silent").begin()
    first.beat()
    second = ingress.next("edge-silent")
    second.ack_all()
    first.over.set()
    assert second.attempts == [1]
    assert second.at - first.at >= 2 - SLACK_S
    worker.wait_for_batches("edge-silent", "1/1")


@pytest.mark.slow
def test_a_batch_is_given_up_before_the_platform_ends_it(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-wall", "endless")
    delivery = ingress.next("edge-wall").begin()

    def ended() -> bool:
        try:
            delivery.beat()
        except OSError:
            return True
        return False

    wait_for(ended, 20, "the Worker hangs up")
    delivery.over.set()
    told = time.monotonic()
    assert told - delivery.at >= 8 - SLACK_S
    again = ingress.next("edge-wall", 60)
    again.ack_all()
    assert again.attempts == [2]
    assert again.at - told >= 30 - 1  # the Worker may have hung up a moment before we saw it


def test_lines_that_mean_nothing_are_passed_over(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-lines", "odd")
    delivery = ingress.next("edge-lines").begin()
    delivery.write('not JSON\n[]\nnull\n{"id":"another","outcome":"ack"}\n')
    delivery.say("perhaps")
    delivery.say("ack").end()
    worker.wait_for_batches("edge-lines", "1/1")


def test_a_line_may_come_in_pieces(worker: Worker, ingress: Ingress) -> None:
    worker.publish("edge-pieces", "odd")
    delivery = ingress.next("edge-pieces").begin()
    for char in f'{{"id":"{delivery.messages[0]["id"]}","outcome":"ack"}}\n':
        delivery.write(char)
        time.sleep(0.002)  # so that they are not put together on their way
    delivery.end()
    worker.wait_for_batches("edge-pieces", "1/1")


def test_a_delay_that_is_none_does_not_keep_a_message_from_coming_again(
    worker: Worker, ingress: Ingress
) -> None:
    worker.publish("edge-odd", "odd")
    ingress.next("edge-odd").begin().say("retry", delay_seconds="soon").end()
    second = ingress.next("edge-odd")
    second.ack_all()
    assert second.attempts == [2]


@pytest.mark.slow
def test_a_message_that_breaks_its_ingress_ends_as_a_dead_letter(
    worker: Worker, ingress: Ingress
) -> None:
    worker.publish("edge-poison", "poison")
    for attempt in (1, 2):
        for _ in range(1 + REJOINS):
            delivery = ingress.next("edge-poison").begin()
            assert delivery.attempts == [attempt]
            delivery.break_off()
    dead = ingress.next("edge-dead")
    dead.ack_all()
    assert dead.bodies == ["poison"]


def test_many_messages_come_once_each(worker: Worker, ingress: Ingress) -> None:
    bodies = [f"message {n}" for n in range(300)]
    begun = time.monotonic()
    for start in range(0, 300, 100):
        worker.publish("edge-many", *bodies[start : start + 100])
    came: list[str] = []
    while len(came) < 300:
        delivery = ingress.next("edge-many")
        delivery.ack_all()
        assert set(delivery.attempts) == {1}
        came += delivery.bodies
    print(f"pushed {300 / (time.monotonic() - begun):.0f} messages/s in batches of ten")
    assert sorted(came) == sorted(bodies)


def test_the_queue_of_wrangler_toml_is_served_one_message_at_a_time(
    worker: Worker, ingress: Ingress
) -> None:
    waits = []
    for n in range(50):
        begun = time.monotonic()
        worker.publish("cutmv-processing", f"{n}")
        delivery = ingress.next("cutmv-processing")
        waits.append((delivery.at - begun) * 1000)
        delivery.ack_all()
        assert delivery.bodies == [f"{n}"]
    print(f"publish to deliver: p50 {statistics.median(waits):.1f} ms, max {max(waits):.1f} ms")
