"""What plain kombu's users rely on, from kombu's documentation: on a real Redis, and here.

A test that names one broker alone shows what the other lacks.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import kombu
import pytest
from kombu.common import collect_replies, eventloop, itermessages
from kombu.exceptions import ChannelError
from kombu.mixins import ConsumerMixin, ConsumerProducerMixin

from cutmv.transports.cloudflare.errors import ConfigurationError
from cutmv.transports.cloudflare.fanout import memory
from cutmv.transports.cloudflare.queues.bindings import DurableBinding, TemporaryBinding
from tests.support.emulator import EmulatorProcess
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


# Messages.


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
    assert [message.delivery_info["redelivered"] for message in [*seen, *got]] == [False] * 5
    got[0].requeue()
    assert queue(connection.default_channel).get().delivery_info["redelivered"] is True


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
        queue_arguments={"x-dead-letter-exchange": "dlx", "x-odd": 1, "x-queue-type": "quorum"},
    )
    for _ in range(2):
        queue(connection.default_channel).declare()
    lines = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    named = [line.split("argument ")[1].split(" has no effect")[0] for line in lines]
    assert sorted(named) == [
        "x-dead-letter-exchange",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-odd",
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


# Replies.


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
@pytest.mark.parametrize("times", [60, pytest.param(600, marks=pytest.mark.slow)])
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
