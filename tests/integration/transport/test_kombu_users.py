"""What plain kombu's users rely on, from kombu's documentation: on a real Redis, and here.

A test that names one broker alone shows what the other lacks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import kombu
import pytest
from kombu.common import collect_replies, eventloop, itermessages, send_reply
from kombu.exceptions import ChannelError, ChannelLimitExceeded, ConnectionLimitExceeded
from kombu.mixins import ConsumerMixin, ConsumerProducerMixin
from kombu.pidbox import Mailbox
from kombu.pools import ProducerPool
from kombu.serialization import register

from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.fanout import memory
from cutmv.transports.cloudflare.queues.bindings import DurableBinding, TemporaryBinding
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.transport import connect, transport_threads, wait_until

both = pytest.mark.parametrize("connection", ["cloudflare", "redis"], indirect=True)
here = pytest.mark.parametrize("connection", ["cloudflare"], indirect=True)


@pytest.fixture
def connection(request: pytest.FixtureRequest) -> Iterator[kombu.Connection]:
    if request.param == "redis":
        connection = kombu.Connection(request.getfixturevalue("redis_url"))
    else:
        connection = connect(request.getfixturevalue("emulator"))
    with connection:
        yield connection


def publish(connection: kombu.Connection, queue: kombu.Queue, *bodies: Any, **how: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(
            body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue], **how
        )


def drain(connection: kombu.Connection, done: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "not in time"
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            continue


def plain(name: str, **arguments: Any) -> kombu.Queue:
    return kombu.Queue(name, routing_key=name, **arguments)


# Basic functionality.


@both
def test_what_was_published_is_consumed(connection: kombu.Connection) -> None:
    queue, got = plain("plain"), []
    publish(connection, queue, {"hello": "world"}, serializer="json", retry=True)

    def take(body: Any, message: kombu.Message) -> None:
        assert message.content_type == "application/json"
        assert message.delivery_info["routing_key"] == "plain"
        assert not message.delivery_info["exchange"]
        message.ack()
        got.append((body, message.payload))

    with connection.Consumer([queue], callbacks=[take], accept=["json"]):
        connection.drain_events(timeout=5)
    assert got == [({"hello": "world"}, {"hello": "world"})]


@both
@pytest.mark.parametrize("kind", ["SimpleQueue", "SimpleBuffer"])
def test_simple_queues_take_and_give(connection: kombu.Connection, kind: str) -> None:
    with closing(getattr(connection, kind)("simple")) as queue:
        queue.put({"n": 1}, headers={"k": "v"})
        assert queue.qsize() == 1
        message = queue.get(timeout=5)
        assert message.payload == {"n": 1}
        assert message.headers["k"] == "v"
        message.ack()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.2)
        with pytest.raises(queue.Empty):
            queue.get_nowait()


@both
def test_a_queue_s_size_is_without_what_was_given_and_a_purge_takes_the_rest(
    connection: kombu.Connection,
) -> None:
    with closing(connection.SimpleQueue("sized")) as queue:
        for n in range(5):
            queue.put(n)
        assert queue.qsize() == 5
        first, second = (queue.get(timeout=5) for _ in range(2))
        assert queue.qsize() == 3
        first.ack()
        assert queue.qsize() == 3
        second.requeue()
        assert queue.qsize() == 4
        assert queue.clear() == 4
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.5)
        queue.put("after")
        assert queue.get(timeout=5).payload == "after"


@both
def test_the_connection_s_own_calls_work(connection: kombu.Connection) -> None:
    assert connection.default_channel is connection.default_channel
    connection.heartbeat_check()
    with connection.clone() as other:
        with closing(other.SimpleQueue("cloned")) as queue:
            queue.put("x")
        assert other.connected
    channel_of: list[Any] = []
    connection.autoretry(lambda channel=None: channel_of.append(channel))()
    assert channel_of
    producer = connection.Producer()
    ensured = connection.ensure(producer, producer.publish, max_retries=2)
    ensured("y", routing_key="cloned", declare=[plain("cloned")], retry=True)
    with closing(connection.SimpleQueue("cloned")) as queue:
        bodies = set()
        for _ in range(2):
            message = wait_until(lambda: queue.queue.get(), 5)
            bodies.add(message.payload)
            message.ack()
    assert bodies == {"x", "y"}


# Exchanges.


@both
def test_direct_exchanges_go_by_the_key(connection: kombu.Connection) -> None:
    exchange = kombu.Exchange("cuts", type="direct")
    queues = [kombu.Queue(f"cuts-{n}", exchange, routing_key=f"key-{n}") for n in (1, 2)]
    for queue in queues:
        queue(connection.default_channel).declare()
    publish(connection, queues[1], "two")
    assert queues[0](connection.default_channel).get() is None
    assert wait_until(lambda: queues[1](connection.default_channel).get()).payload == "two"


@both
def test_topic_exchanges_go_by_patterns(connection: kombu.Connection) -> None:
    exchange = kombu.Exchange("news", type="topic")
    star, hash_, other = (
        kombu.Queue(f"news-{n}", exchange, routing_key=pattern)(connection.default_channel)
        for n, pattern in enumerate(("a.*", "a.#", "b.#"))
    )
    for queue in (star, hash_, other):
        queue.declare()
    connection.Producer().publish("short", exchange=exchange, routing_key="a.b")
    connection.Producer().publish("long", exchange=exchange, routing_key="a.b.c")
    assert wait_until(star.get).payload == "short"
    assert {wait_until(hash_.get).payload for _ in range(2)} == {"short", "long"}
    assert star.get() is None
    assert other.get() is None


@both
def test_fanout_exchanges_reach_every_consumer(connection: kombu.Connection) -> None:
    exchange = kombu.Exchange("everyone", type="fanout")
    queues = [kombu.Queue(f"everyone-{n}", exchange, auto_delete=True) for n in range(2)]
    got: list[Any] = []
    with (
        connection.channel() as one,
        connection.channel() as two,
        kombu.Consumer(one, queues[:1], on_message=got.append, no_ack=True),
        kombu.Consumer(two, queues[1:], on_message=got.append, no_ack=True),
    ):
        with contextlib.suppress(TimeoutError):  # Redis subscribes while it drains
            connection.drain_events(timeout=0.1)
        connection.Producer().publish("hello", exchange=exchange, declare=[exchange])
        drain(connection, lambda: len(got) == 2)


@here
@pytest.mark.parametrize("kind", ["headers", "x-delayed-message"])
def test_other_types_of_exchanges_are_refused_in_a_line(
    connection: kombu.Connection, kind: str
) -> None:
    with pytest.raises(ConfigurationError, match="direct, topic and fanout") as caught:
        kombu.Exchange("odd", type=kind)(connection.default_channel).declare()
    assert "\n" not in str(caught.value)
    with pytest.raises(NotImplementedError, match="bind its queues to 'inner'"):
        kombu.Exchange("outer")(connection.default_channel).bind_to("inner")


@here
def test_a_deleted_exchange_leaves_its_queues(
    connection: kombu.Connection, emulator: EmulatorProcess
) -> None:
    channel = connection.default_channel
    exchange = kombu.Exchange("gone", type="topic")(channel)
    queue = kombu.Queue("stays", exchange, routing_key="a.#")(channel)
    queue.declare()
    with pytest.raises(ChannelError, match="has bindings"):
        exchange.delete(if_unused=True)
    publish(connection, queue, "kept")
    exchange.delete()
    assert not [name for name in emulator.stats()["messages"] if DurableBinding.read(name)]
    assert wait_until(queue.get).payload == "kept"
    with pytest.raises(ChannelError, match="no exchange 'gone'"):
        exchange.declare(passive=True)


@here
def test_an_auto_delete_exchange_goes_with_its_last_binding(connection: kombu.Connection) -> None:
    channel = connection.default_channel
    exchange = kombu.Exchange("passing", auto_delete=True)
    queue = kombu.Queue("reader", exchange, routing_key="k", auto_delete=True)(channel)
    queue.declare()
    assert "passing" in channel.get_exchanges()
    queue.delete()
    assert "passing" not in channel.get_exchanges()


@here
def test_a_publisher_that_never_declared_the_exchange_reaches_who_is_bound(
    connection: kombu.Connection, emulator: EmulatorProcess
) -> None:
    """Celery's route to a Broadcast queue names the exchange, and declares nothing."""
    fanout = kombu.Exchange("bc", type="fanout")
    topic = kombu.Exchange("tp", type="topic")
    queues = [
        kombu.Queue("bc-1", fanout, auto_delete=True),
        kombu.Queue("bc-2", fanout),
        kombu.Queue("tp-1", topic, routing_key="a.#", auto_delete=True),
        kombu.Queue("tp-2", topic, routing_key="b.#"),
    ]
    got: list[str] = []

    def take(message: kombu.Message) -> None:
        got.append(f"{message.payload} {message.delivery_info['exchange']}")
        message.ack()

    # Of different options, so that they share no more than two processes would.
    with (
        connection.Consumer(queues, on_message=take),
        connect(emulator, ack_linger=0.2) as other,
    ):
        for exchange, key in (("bc", ""), ("tp", "a.b"), ("tp", "c")):
            other.Producer().publish("task", exchange=exchange, routing_key=key)
        drain(connection, lambda: len(got) == 3)
    assert sorted(got) == ["task bc", "task bc", "task tp"]


@both
def test_a_queue_may_have_several_bindings(connection: kombu.Connection) -> None:
    exchange = kombu.Exchange("cuts", type="direct")
    bindings = [kombu.binding(exchange, routing_key=key) for key in ("a", "b")]
    queue = kombu.Queue("cuts-ab", bindings)(connection.default_channel)
    queue.declare()
    bound = exchange(connection.default_channel)
    for key in ("a", "b", "c"):
        bound.publish(bound.Message(key), routing_key=key)
    assert {wait_until(queue.get).body for _ in range(2)} == {b"a", b"b"}
    assert queue.get() is None


@both
def test_bindings_are_listed(connection: kombu.Connection) -> None:
    """`celery list bindings` asks so."""
    wanted = []
    for kind, exchange, key in (("direct", "d", "a"), ("topic", "t", "a.#"), ("direct", "q", "q")):
        queue = kombu.Queue("q", kombu.Exchange(exchange, type=kind), routing_key=key)
        queue(connection.default_channel).declare()
        wanted.append({"destination": "q", "source": exchange, "routing_key": key})
    listed = connection.get_manager().get_bindings()
    assert [each for each in listed if each["source"]] == wanted


@here
@pytest.mark.parametrize("kind", ["default", "topic", "fanout"])
def test_a_mandatory_message_for_no_queue_is_returned(
    connection: kombu.Connection,
    emulator: EmulatorProcess,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange = kombu.Exchange("" if kind == "default" else "letters", type=kind)
    returned: list[Any] = []
    producer = connection.Producer(on_return=lambda *args: returned.append(args))
    how: dict[str, Any] = {"exchange": exchange, "routing_key": "nobody", "mandatory": True}
    producer.publish({"n": 1}, delivery_mode=1, **how)
    producer.publish({"n": 2}, **how)
    for n, (error, name, key, message) in enumerate(returned, 1):
        assert isinstance(error, ChannelError)
        assert error.reply_code == 312
        assert (name, key, message.payload) == (exchange.name, "nobody", {"n": n})
    assert len(returned) == 2
    assert emulator.stats()["messages"] == {}
    kombu.Producer(connection.channel()).publish({"n": 3}, **how)
    assert "NO_ROUTE" in caplog.text

    queue = kombu.Queue("nobody", None if kind == "default" else exchange, routing_key="nobody")
    with connect(emulator, ack_linger=0.2) as other:
        producer = other.Producer(on_return=lambda *args: returned.append(args))
        producer.publish({"n": 3}, declare=[queue], **how)
        producer.publish({"n": 4}, delivery_mode=1, **how)
    bound = queue(connection.default_channel)
    assert {wait_until(bound.get).payload["n"] for _ in range(2)} == {3, 4}
    assert len(returned) == 2


@here
def test_messages_that_no_queue_takes_are_told_of_once(
    connection: kombu.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    Mailbox("celery")(connection).abcast("hello")  # as a worker that is the first
    for exchange in ("typo", "typo", "amq.topic", "amq.fanout"):
        connection.Producer().publish("lost", exchange=exchange, routing_key="k")
    connection.Producer().publish("event", exchange="amq.topic", routing_key="k", delivery_mode=1)
    assert caplog.text.count("'typo' has no queue for key 'k', so messages are dropped") == 1
    assert caplog.text.count("WARNING") == 1


# Messages.


@both
def test_a_message_comes_as_it_was_published(connection: kombu.Connection) -> None:
    register("rot", lambda o: json.dumps(o)[::-1], lambda s: json.loads(s[::-1]), "application/rot")
    queue = plain("whole")(connection.default_channel)
    producer = connection.Producer()
    properties = {"type": "t", "app_id": "a", "message_id": "m", "reply_to": "r", "timestamp": 7}
    headers = {"a": {"b": [1, None, 2.5]}}
    for serializer, compression in (("rot", "gzip"), ("pickle", "bzip2"), ("json", "lzma")):
        how = {"serializer": serializer, "compression": compression}
        producer.publish(
            ["héllo"],
            routing_key="whole",
            declare=[queue],
            headers={**headers},
            **how,
            **properties,
        )
        message = wait_until(lambda: queue.get(accept=["rot", "pickle", "json"]))
        assert message.payload == ["héllo"]
        assert message.properties.items() >= properties.items()
        assert message.headers.pop("compression")
        assert message.headers == headers
        message.ack()


@both
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_message_may_outlive_its_channel(connection: kombu.Connection, exclusive: bool) -> None:
    """It has gone back to its queue."""
    queue = plain("closed", exclusive=exclusive)
    for how in ("ack", "reject", "requeue"):
        channel = connection.channel()
        kombu.Producer(channel).publish(how, routing_key="closed", declare=[queue])
        message = wait_until(queue(channel).get)
        channel.close()
        getattr(message, how)()
        if not exclusive:
            again = wait_until(queue(connection.default_channel).get)
            assert again.payload == how
            again.ack()


@both
def test_recover_gives_back_what_is_not_acked(connection: kombu.Connection) -> None:
    queue = plain("again")(connection.default_channel)
    publish(connection, plain("again"), "x")
    wait_until(queue.get)
    connection.Consumer([queue], auto_declare=False).recover(requeue=True)
    message = wait_until(queue.get)
    assert (message.payload, message.delivery_info["redelivered"]) == ("x", True)
    message.ack()


@both
@pytest.mark.parametrize("how", ["requeue", "reject"])
def test_a_requeued_message_is_there_for_the_next_get(
    connection: kombu.Connection, how: str
) -> None:
    with closing(connection.SimpleQueue("again")) as queue:
        queue.put("x")
        first = queue.get_nowait()
        first.requeue() if how == "requeue" else first.reject(requeue=True)
        second = queue.get_nowait()
        assert second.payload == "x"
        assert second.delivery_info.get("redelivered") is True
        second.ack()
        with pytest.raises(queue.Empty):
            queue.get_nowait()


@both
def test_a_rejected_message_is_gone(connection: kombu.Connection) -> None:
    with closing(connection.SimpleQueue("no")) as queue:
        queue.put("x")
        queue.get_nowait().reject()
        with pytest.raises(queue.Empty):
            queue.get_nowait()


@here
def test_a_message_of_a_temporary_queue_is_requeued_too(connection: kombu.Connection) -> None:
    queue = plain("mine", exclusive=True)(connection.default_channel)
    publish(connection, plain("mine", exclusive=True), "x", "y")
    first = queue.get()
    first.requeue()
    again = queue.get()
    assert again.payload == "x"
    assert again.delivery_info["redelivered"] is True
    again.ack()
    held: list[kombu.Message] = []
    with connection.Consumer([queue], on_message=held.append):
        drain(connection, lambda: held)
    connection.default_channel.basic_recover(requeue=True)
    assert queue.get().payload == "y"


@here
@pytest.mark.parametrize("exclusive", [False, True])
def test_an_ack_may_stand_for_all_before_it(
    connection: kombu.Connection, emulator: EmulatorProcess, exclusive: bool
) -> None:
    queue, got = plain("acked", exclusive=exclusive), []
    publish(connection, queue, *range(4))
    with connection.channel() as channel:
        with kombu.Consumer(channel, [queue], on_message=got.append):
            drain(connection, lambda: len(got) == 4)
        got[2].ack(multiple=True)
        got[1].ack()  # it is acked already, which is no error
        got[3].requeue()
        message = wait_until(queue(channel).get)
        assert message.payload == got[3].payload
        message.ack()
        channel.basic_recover(requeue=True)
        assert queue(channel).get() is None, "all are acked"
    if not exclusive:
        wait_until(lambda: emulator.stats()["acked"] == 4)


@both
def test_a_message_that_nobody_saw_is_not_redelivered(connection: kombu.Connection) -> None:
    """A cancelled consumer's pull had it."""
    queue = plain("fresh")
    publish(connection, queue, *range(5))
    seen: list[kombu.Message] = []
    with connection.channel() as channel:
        consumer = kombu.Consumer(channel, [queue], on_message=seen.append, no_ack=True)
        consumer.consume()
        drain(connection, lambda: seen)
        consumer.cancel()
    got = [wait_until(lambda: queue(connection.default_channel).get()) for _ in range(4)]
    assert not any(message.delivery_info.get("redelivered") for message in [*seen, *got])
    got[0].requeue()
    assert queue(connection.default_channel).get().delivery_info["redelivered"] is True


# Consumers.


@both
def test_a_consumer_of_the_same_tag_takes_the_other_s_place(connection: kombu.Connection) -> None:
    got: list[tuple[str, Any]] = []
    queue = plain("tagged")(connection.default_channel)
    queue.declare()
    queue.consume("tag", callback=lambda message: got.append(("one", message.payload)))
    queue.consume("tag", callback=lambda message: got.append(("two", message.payload)))
    for n in range(2):
        publish(connection, plain("tagged"), n)
        drain(connection, lambda n=n: len(got) > n)
    assert got == [("two", 0), ("two", 1)]
    queue.cancel("tag")


@both
def test_pools_are_limited_and_give_again_what_came_back(connection: kombu.Connection) -> None:
    pool = connection.Pool(1)
    with pool.acquire() as taken:
        taken.ensure_connection(max_retries=2)
        for wait in ({}, {"block": True, "timeout": 0.05}):
            with pytest.raises(ConnectionLimitExceeded):
                pool.acquire(**wait)
    with ProducerPool(pool, limit=1).acquire(block=True, timeout=1) as producer:
        producer.publish("x", routing_key="pooled", declare=[plain("pooled")], retry=True)
    pool.force_close_all()
    channels = connection.ChannelPool(1)
    channel = channels.acquire()
    with pytest.raises(ChannelLimitExceeded):
        channels.acquire()
    message = wait_until(plain("pooled")(channel).get)
    assert message.payload == "x"
    message.ack()
    connection.collect()  # as Celery does when it has lost its connection
    publish(connection, plain("pooled"), "y")
    assert wait_until(plain("pooled")(connection.default_channel).get).payload == "y"


# Draining.


@here
def test_one_drain_gives_what_is_there_by_priority(connection: kombu.Connection) -> None:
    queue, got = plain("urgent", max_priority=10), []
    for body, priority in (("c", 6), ("a", 0), ("d", 6), ("b", 3)):
        publish(connection, queue, body, priority=priority)

    def take(body: Any, message: kombu.Message) -> None:
        got.append(body)
        message.ack()

    with connection.Consumer([queue], callbacks=[take]):
        connection.drain_events(timeout=5)
        assert got == ["a", "b", "c", "d"]
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)


@both
def test_priorities_hold_over_several_drains(connection: kombu.Connection) -> None:
    queue, got = plain("urgent"), []
    for body, priority in (("b", 6), ("a", 3), ("c", 6)):
        publish(connection, queue, body, priority=priority)

    def take(body: Any, message: kombu.Message) -> None:
        got.append(body)
        message.ack()

    with connection.Consumer([queue], callbacks=[take]):
        drain(connection, lambda: len(got) == 3)
    assert got == ["a", "b", "c"]


@here
def test_requeued_messages_come_by_priority_among_new_ones(connection: kombu.Connection) -> None:
    queue = plain("urgent")
    for body, priority in (("c", 6), ("b", 3), ("d", 6)):
        publish(connection, queue, body, priority=priority)
    held: list[kombu.Message] = []
    with connection.Consumer([queue], on_message=held.append):
        connection.drain_events(timeout=5)
        assert [message.payload for message in held] == ["b", "c", "d"]
    sources = connection.transport.sources
    wait_until(lambda: all(each.ended for each in sources), 5, "no pull is under way")
    for message in held:
        message.requeue()
    connection.transport.session.acknowledger.flush(5)
    publish(connection, queue, "a", priority=0)
    held.clear()
    with connection.Consumer([queue], on_message=held.append):
        connection.drain_events(timeout=5)
    assert [message.payload for message in held] == ["a", "b", "c", "d"]


@both
@pytest.mark.parametrize("kind", ["SimpleQueue", "SimpleBuffer"])
def test_simple_queues_give_the_most_urgent_first(connection: kombu.Connection, kind: str) -> None:
    with closing(getattr(connection, kind)("simple")) as queue:
        for body, priority in (("b", 6), ("a", 3), ("c", 6)):
            queue.put(body, priority=priority)
        got = [queue.get(timeout=5) for _ in range(3)]
        assert [message.payload for message in got] == ["a", "b", "c"]
        for message in got:
            message.ack()


@both
def test_a_drain_without_messages_ends_at_its_timeout(connection: kombu.Connection) -> None:
    with connection.Consumer([plain("empty")], on_message=print):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.3)
        assert 0.25 < time.monotonic() - started < 3


@both
def test_a_drain_gives_no_more_than_the_prefetch(connection: kombu.Connection) -> None:
    queue, held = plain("many"), []
    publish(connection, queue, *range(5))
    with connection.channel() as channel:
        channel.basic_qos(0, 2, False)
        with kombu.Consumer(channel, [queue], on_message=held.append):
            drain(connection, lambda: len(held) == 2)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.3)
            held.pop().ack()
            drain(connection, lambda: len(held) == 2)
        for message in held:
            message.ack()


@both
def test_a_drain_serves_several_consumers(connection: kombu.Connection) -> None:
    queues, got = [plain("one"), plain("two")], []
    for queue in queues:
        publish(connection, queue, *[queue.name] * 3)

    def take(body: Any, message: kombu.Message) -> None:
        got.append(body)
        message.ack()

    with connection.Consumer(queues, callbacks=[take]):
        drain(connection, lambda: len(got) == 6)
    assert sorted(got) == ["one"] * 3 + ["two"] * 3


@both
def test_itermessages_yields_as_many_as_were_asked_for(connection: kombu.Connection) -> None:
    queue = plain("iterated")
    publish(connection, queue, *range(5))
    found = []
    for body, message in itermessages(
        connection, connection.default_channel, queue, limit=3, timeout=2
    ):
        found.append(body)
        message.ack()
    assert len(found) == 3
    left = [wait_until(lambda: queue(connection.default_channel).get(), 5) for _ in range(2)]
    assert sorted([*found, *[message.payload for message in left]]) == list(range(5))


@both
def test_an_eventloop_without_acks_takes_one_message_a_turn(connection: kombu.Connection) -> None:
    queue, got = plain("looped"), []
    publish(connection, queue, *range(4))
    with connection.Consumer([queue], on_message=got.append, no_ack=True):
        for _ in eventloop(connection, limit=2, timeout=2):
            pass
    assert len(got) == 2
    left = [wait_until(lambda: queue(connection.default_channel).get(), 5) for _ in range(2)]
    assert all(message.ack() is None for message in left)


@here
def test_consumers_of_a_temporary_queue_take_turns(connection: kombu.Connection) -> None:
    queue = kombu.Queue("shared", kombu.Exchange("shared"), "shared", auto_delete=True)
    got: list[tuple[str, Any]] = []

    def consumer(name: str, channel: Any) -> kombu.Consumer:
        return kombu.Consumer(
            channel, [queue], callbacks=[lambda body, _: got.append((name, body))], no_ack=True
        )

    with connection.channel() as one, connection.channel() as two, consumer("one", one):
        with consumer("two", two):
            publish(connection, queue, *range(4))
            drain(connection, lambda: len(got) == 4)
        publish(connection, queue, "the first is still there")
        drain(connection, lambda: len(got) == 5)
    assert sorted(map(str, (body for _, body in got)))[:4] == ["0", "1", "2", "3"]
    assert got[-1] == ("one", "the first is still there")


# Time to live.


@here
def test_an_expiration_that_is_none_is_refused_in_a_line(connection: kombu.Connection) -> None:
    with pytest.raises(ValueError, match="expiration must be seconds, not '333") as caught:
        publish(connection, plain("ttl"), "x", expiration="3")
    assert len(str(caught.value)) < 80


@here
@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "SimpleBuffer"])
def test_an_expired_message_is_never_delivered(connection: kombu.Connection, kind: str) -> None:
    if kind == "Queue":
        queue, got = plain("ttl"), []
        publish(connection, queue, "late", expiration=0)
        publish(connection, queue, "in time", expiration=60)
        with connection.Consumer([queue], on_message=got.append):
            connection.drain_events(timeout=5)
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.2)
        assert [message.payload for message in got] == ["in time"]
        return
    with closing(getattr(connection, kind)("ttl")) as simple:
        simple.put("late", expiration=0)
        simple.put("in time", expiration=60)
        assert simple.get(timeout=5).payload == "in time"
        with pytest.raises(simple.Empty):
            simple.get(timeout=0.2)
        simple.put("late again", expiration=0)
        with pytest.raises(simple.Empty):
            simple.get_nowait()


@here
def test_a_message_that_expires_while_its_consumer_is_busy_is_not_delivered(
    connection: kombu.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, got = plain("ttl"), []
    publish(connection, queue, "late", expiration=60)
    with connection.Consumer([queue], on_message=got.append):
        wait_until(lambda: connection.transport.ready._ready, 5, "it was fetched")
        now = time.time() + 100
        monkeypatch.setattr("cutmv.transports.cloudflare.messages.expiry.time.time", lambda: now)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)
    assert got == []


@here
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_queue_s_message_ttl_holds_for_every_publisher(
    connection: kombu.Connection, emulator: EmulatorProcess, exclusive: bool
) -> None:
    """A publisher need not know of it."""
    queue, got = plain("short", message_ttl=0, exclusive=exclusive), []
    bound = queue(connection.default_channel)
    bound.declare()
    with connect(emulator, ack_linger=0.2) as other:
        other.Producer().publish("late", routing_key="short")
        publish(connection, queue, "late")
        if not exclusive:
            assert bound.get() is None
            with (
                connection.Consumer([queue], on_message=got.append),
                pytest.raises(TimeoutError),
            ):
                connection.drain_events(timeout=0.3)
    if exclusive:
        assert bound.get() is None
    assert got == []


# Queues.


@here
def test_arguments_that_have_no_effect_are_named_in_a_line(
    connection: kombu.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    queue = plain(
        "odd",
        expires=60,
        max_length=3,
        max_length_bytes=9,
        max_priority=5,
        message_ttl=60,
        queue_arguments={
            "x-dead-letter-exchange": "dlx",
            "x-delivery-limit": 3,
            "x-odd": 1,
            "x-overflow": "reject-publish",
            "x-queue-mode": "lazy",
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
        },
    )
    for _ in range(2):
        queue(connection.default_channel).declare()
    lines = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    named = [line.split("argument ")[1].split(" has no effect")[0] for line in lines]
    assert sorted(named) == [
        "x-dead-letter-exchange",
        "x-delivery-limit",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-odd",
        "x-overflow",
        "x-single-active-consumer",
    ]
    caplog.clear()
    channel = connection.channel()
    for _ in range(2):
        channel.basic_qos(prefetch_size=1000, prefetch_count=1)
        preferred = plain("preferred", consumer_arguments={"x-priority": 10})
        with kombu.Consumer(channel, [preferred], on_message=print):
            pass
        channel.basic_consume("preferred", True, print, "tag", exclusive=True)
        arguments = {"alternate-exchange": "other", "x-delayed-type": "direct"}
        kombu.Exchange("odd", arguments=arguments)(channel).declare()
        connection.Producer().publish("x", routing_key="preferred", immediate=True)
    for _ in range(2):
        with connection.clone(virtual_host="shop") as other:
            other.connect()
    lines = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    named = [line.split(" has no effect: ")[0].rsplit(maxsplit=1)[1] for line in lines]
    assert named == [
        "prefetch_size",
        "x-priority",
        "exclusive",
        "alternate-exchange",
        "x-delayed-type",
        "immediate",
        "'shop'",
    ]
    with pytest.raises(ConfigurationError, match="x-message-ttl must be a number"):
        plain("worse", queue_arguments={"x-message-ttl": "soon"})(
            connection.default_channel
        ).declare()


@here
def test_a_temporary_queue_holds_its_max_length(
    connection: kombu.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    queue = kombu.Queue("short", exclusive=True, max_length=2, expires=60)
    bound = queue(connection.default_channel)
    bound.declare()
    producer = connection.Producer()
    for n in range(4):
        producer.publish(n, routing_key="short", delivery_mode=1)
    assert [bound.get().payload, bound.get().payload, bound.get()] == [2, 3, None]
    assert not [line for line in caplog.records if line.levelno >= logging.WARNING]


@here
def test_a_queue_is_deleted_only_if_unused_and_empty(
    connection: kombu.Connection, emulator: EmulatorProcess
) -> None:
    queue = plain("kept")(connection.default_channel)
    publish(connection, plain("kept"), "x")
    with pytest.raises(ChannelError, match="not empty"):
        queue.delete(if_empty=True)
    with connection.Consumer([plain("kept")], on_message=lambda message: message.ack()):
        assert queue.queue_declare(passive=True).consumer_count == 1
        assert connection.transport.session.stats()["queues"]["consumers"] == {"kept": 1}
        with pytest.raises(ChannelError, match="in use"):
            queue.delete(if_unused=True)
        drain(connection, lambda: emulator.stats()["acked"] == 1)
    queue.delete(if_unused=True, if_empty=True)
    assert "kept" not in emulator.stats()["messages"]
    queue.delete(if_unused=True, if_empty=True)  # it is gone, which is no error


@both
def test_purging_tells_how_many_there_were(connection: kombu.Connection) -> None:
    publish(connection, plain("full"), *range(3))
    queue = plain("full")(connection.default_channel)
    assert queue.queue_declare(passive=True).message_count == 3
    assert queue.purge() == 3
    assert queue.purge() == 0
    assert queue.get() is None


@both
def test_what_does_not_exist_can_t_be_purged(connection: kombu.Connection) -> None:
    """`celery purge` takes an error of the channel for an empty queue; Redis purges nothing."""
    with contextlib.suppress(*connection.channel_errors):
        assert connection.default_channel.queue_purge("nothing") == 0


@both
def test_a_batch_sends_what_waits_when_it_is_told_to(connection: kombu.Connection) -> None:
    producer, queue = connection.Producer(), plain("batched")(connection.default_channel)
    with producer.batch() as batch:
        producer.publish("one", routing_key="batched", declare=[plain("batched")])
        batch.flush()
        assert wait_until(queue.get).payload == "one"
        producer.publish("two", routing_key="batched")
    assert wait_until(queue.get).payload == "two"


# Replies.


@both
def test_a_mailbox_of_one_s_own(connection: kombu.Connection) -> None:
    mailbox = Mailbox("mine", type="direct")
    with connection.clone() as server:
        state = {"n": 0}
        node = mailbox(server).Node("me@host", state=state, channel=server.channel())

        def add(state: dict[str, int], n: int) -> int:
            state["n"] += n
            return state["n"]

        node.handlers["add"] = add
        node.listen()
        with contextlib.suppress(TimeoutError):  # Redis subscribes while it drains
            server.drain_events(timeout=0.1)
        stop = threading.Event()
        thread = threading.Thread(target=drain, args=(server, stop.is_set))
        thread.start()
        try:
            caller = mailbox(connection)
            assert caller.call(["me@host"], "add", {"n": 2}, timeout=5) == [{"me@host": 2}]
            assert caller.multi_call("add", {"n": 3}, timeout=5, limit=1) == [{"me@host": 5}]
            caller.cast(["me@host"], "add", {"n": 4})
            caller.abcast("add", {"n": 5})
            wait_until(lambda: state["n"] == 14)
        finally:
            stop.set()
            thread.join()


@both
def test_a_reply_is_sent_to_who_asked(connection: kombu.Connection) -> None:
    queue = kombu.Queue("asks", exclusive=True)(connection.default_channel)
    queue.declare()
    publish(connection, plain("asked"), {"n": 1}, reply_to="asks", correlation_id="7")
    with connection.clone() as other:
        request = wait_until(plain("asked")(other.default_channel).get)
        send_reply(kombu.Exchange(""), request, {"ok": 1}, producer=other.Producer())
        request.ack()
    reply = wait_until(queue.get)
    assert (reply.payload, reply.properties["correlation_id"]) == ({"ok": 1}, "7")


class Server(ConsumerProducerMixin):
    """kombu's documented RPC server: it replies by the default exchange."""

    def __init__(self, connection: kombu.Connection) -> None:
        self.connection = connection
        self.served: list[Any] = []
        self.failed: list[BaseException] = []

    def get_consumers(self, consumer: Any, channel: Any) -> list[kombu.Consumer]:
        queue = kombu.Queue("rpc_queue")
        return [consumer(queues=[queue], on_message=self.serve, prefetch_count=1)]

    def serve(self, message: kombu.Message) -> None:
        self.served.append(message.payload)
        self.producer.publish(
            {"result": message.payload["n"] * 2},
            exchange="",
            routing_key=message.properties["reply_to"],
            correlation_id=message.properties["correlation_id"],
            retry=True,
        )
        message.ack()

    def run_guarded(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self.failed.append(error)


@pytest.fixture
def server(connection: kombu.Connection) -> Iterator[Server]:
    # Of other options, so that client and server share no more than two processes would.
    options = dict(connection.transport_options)
    if options:
        options["ack_linger"] = 0.2
    server = Server(kombu.Connection(connection.as_uri(include_password=True)))
    server.connection.transport_options = options
    thread = threading.Thread(target=server.run_guarded)
    thread.start()
    yield server
    server.should_stop = True
    thread.join(20)
    server.connection.release()
    assert server.failed == []


def call(connection: kombu.Connection, n: int, *, wait: bool = True) -> Any:
    """kombu's documented RPC client: the publish declares its callback queue."""
    callback_queue = kombu.Queue(kombu.uuid(), exclusive=True, auto_delete=True)
    answers: list[Any] = []
    ticket = kombu.uuid()
    with connection.Producer() as producer:
        producer.publish(
            {"n": n},
            exchange="",
            routing_key="rpc_queue",
            declare=[callback_queue],
            reply_to=callback_queue.name,
            correlation_id=ticket,
        )
    if not wait:
        return None
    with connection.Consumer(
        on_message=lambda message: answers.append(message.payload),
        queues=[callback_queue],
        no_ack=True,
    ):
        drain(connection, lambda: answers)
    return answers[0]["result"]


@both
def test_rpc_by_an_exclusive_callback_queue(connection: kombu.Connection, server: Server) -> None:
    assert [call(connection, n) for n in range(3)] == [0, 2, 4]
    assert len(server.served) == 3


@both
def test_a_reply_to_who_is_gone_is_dropped(connection: kombu.Connection, server: Server) -> None:
    with connection.clone() as leaving:
        call(leaving, 1, wait=False)
    wait_until(lambda: server.served, 10, "it was served")
    assert call(connection, 2) == 4, "the server serves on"


@here
def test_a_reply_that_comes_before_its_reader_waits_for_it(
    connection: kombu.Connection, emulator: EmulatorProcess
) -> None:
    queue = kombu.Queue(kombu.uuid(), exclusive=True)(connection.default_channel)
    queue.declare()
    connection.Producer().publish("request", routing_key="requests", declare=[plain("requests")])
    with connect(emulator, ack_linger=0.2) as other:
        other.Producer().publish("reply", routing_key=queue.name, correlation_id="c")
        assert wait_until(queue.get).payload == "reply"


@here
def test_a_queue_bound_to_an_exchange_is_reached_by_its_name_too(
    connection: kombu.Connection, emulator: EmulatorProcess
) -> None:
    exchange = kombu.Exchange("replies", type="topic")
    queue = kombu.Queue("mine", exchange, routing_key="a.#", exclusive=True)
    got: list[Any] = []
    with (
        connection.Consumer([queue], callbacks=[lambda body, _: got.append(body)], no_ack=True),
        connect(emulator, ack_linger=0.2) as other,
    ):
        other.Producer().publish("by name", routing_key="mine")
        drain(connection, lambda: got)
        assert len([n for n in emulator.stats()["messages"] if TemporaryBinding.read(n)]) == 1
    assert got == ["by name"]


@both
def test_a_task_for_a_queue_that_nobody_declared_yet_waits_for_it(
    connection: kombu.Connection,
) -> None:
    connection.Producer().publish({"a": "task"}, exchange="", routing_key="later")
    queue = plain("later")(connection.default_channel)
    queue.declare()
    assert wait_until(queue.get).payload == {"a": "task"}


@here
def test_a_message_for_a_queue_with_a_generated_name_creates_none(
    connection: kombu.Connection, emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    producer = connection.Producer()
    producer.publish("reply", routing_key=kombu.uuid())
    producer.publish("reply", routing_key="callback-7", correlation_id="c")
    producer.publish("news", routing_key="news-7", delivery_mode=1)
    assert emulator.stats()["messages"] == {}
    assert caplog.text.count("a message is dropped") == 3


@both
def test_replies_are_collected(connection: kombu.Connection) -> None:
    queue = kombu.Queue("answers", kombu.Exchange("answers"), "answers", auto_delete=True)
    queue(connection.default_channel).declare()
    publish(connection, queue, *range(3))
    got = list(collect_replies(connection, connection.default_channel, queue, limit=3, timeout=2))
    assert sorted(got) == [0, 1, 2]


class Worker(ConsumerMixin):
    """kombu's documented consumer program."""

    def __init__(self, connection: kombu.Connection) -> None:
        self.connection = connection
        self.got: list[Any] = []

    def get_consumers(self, consumer: Any, channel: Any) -> list[kombu.Consumer]:
        return [consumer(queues=[plain("program")], callbacks=[self.take])]

    def take(self, body: Any, message: kombu.Message) -> None:
        self.got.append(body)
        message.ack()


@both
def test_a_consumer_program_runs(connection: kombu.Connection) -> None:
    publish(connection, plain("program"), *range(3))
    worker = Worker(connection)
    for _ in worker.consume(timeout=5):
        if len(worker.got) == 3:
            break
    assert sorted(worker.got) == [0, 1, 2]


# Nothing grows.


def measures(connection: kombu.Connection, emulator: EmulatorProcess) -> dict[str, int]:
    """Count what consumers may leave behind."""
    transport, session = connection.transport, connection.transport.session
    state, broker = transport.state, session.memory
    temporary = session.temporary_queues
    return {
        "threads": len(transport_threads()),
        "sources": len(transport.sources),
        "channels": len(transport.channels),
        "callbacks": len(connection.default_channel._queue_consumers),
        "kombu's state": len(state.bindings) + len(state.queue_index) + len(state.exchanges),
        "memory": len(broker._queues) + len(broker._tables) + len(broker._types),
        "bindings": len(temporary._wanted) + len(temporary._pollers) + len(temporary._seen),
        "declared": len(connection.default_channel._temporary),
        "consumers": len(session.consumers),
        "publishers": len(session.publishers._publishers),
        "queues": len(emulator.stats()["messages"]),
    }


@here
@pytest.mark.parametrize("times", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_nothing_grows_with_consumers_made_and_cancelled(
    connection: kombu.Connection, emulator: EmulatorProcess, times: int
) -> None:
    def use() -> None:
        with closing(connection.SimpleQueue("used")) as queue:
            queue.put("x")
            queue.get(timeout=5).ack()
        with closing(connection.SimpleBuffer("buffer")) as queue:
            queue.put("x")
            queue.get(timeout=5)
        with (
            connection.channel() as channel,
            kombu.Consumer(channel, [plain("used")], on_message=print),
        ):
            pass

    others = len(transport_threads())  # of other tests' connections

    def settled() -> dict[str, int]:
        use()
        wait_until(lambda: len(transport_threads()) < others + 12, 10, "the pollers have ended")
        use()
        return measures(connection, emulator)

    before = settled()
    for _ in range(times):
        use()
    after = settled()
    assert {key: after[key] for key in after if after[key] > before[key] + 3} == {}


@here
def test_nothing_grows_with_callback_queues(
    connection: kombu.Connection, emulator: EmulatorProcess
) -> None:
    """Each client makes a queue of its own, and is done with it."""
    for _ in range(40):
        queue = kombu.Queue(kombu.uuid(), exclusive=True, auto_delete=True)
        with connection.Consumer([queue], on_message=print, no_ack=True):
            pass
    counted = measures(connection, emulator)
    assert counted["memory"] <= memory.MAX_UNUSED + 1
    assert counted["queues"] <= memory.MAX_UNUSED + 1
    assert counted["declared"] <= memory.MAX_UNUSED + 1
    assert counted["bindings"] <= 2 * memory.MAX_UNUSED + 2


def test_a_reply_queue_that_nobody_read_goes_with_its_process(emulator: EmulatorProcess) -> None:
    """A script with Celery's `rpc://` backend may wait for no result, and close no connection."""
    code = """
import kombu, cutmv.transports.cloudflare
client, server = (
    kombu.Connection("cloudflare://", transport_options={"ack_linger": each}) for each in (0.1, 0.2)
)
kombu.Queue("mine", auto_delete=True)(client.default_channel).declare()
client.Producer().publish("?", routing_key="asked", declare=[kombu.Queue("asked")])
server.Producer().publish("!", routing_key="mine", correlation_id="c")
"""
    run_python("-c", code, env={**os.environ, **emulator.env()}, check=True)
    assert emulator.stats()["published"] == 2
    assert emulator.stats()["messages"] == {"asked": 1, "asked-dead": 0}


@here
def test_a_queue_that_was_deleted_unused_is_not_made_a_lasting_one(
    connection: kombu.Connection, monkeypatch: pytest.MonkeyPatch, emulator: EmulatorProcess
) -> None:
    monkeypatch.setattr(memory, "MAX_UNUSED", 0)
    queue = kombu.Queue("mine", exclusive=True)(connection.default_channel)
    consumer = connection.Consumer([queue], on_message=print)
    consumer.consume()
    consumer.cancel()
    assert emulator.stats()["messages"] == {}
    with pytest.raises(ChannelError, match="no queue 'mine'"):
        consumer.consume()
    queue.declare()
    consumer.consume()
    assert "mine" not in emulator.stats()["messages"]
