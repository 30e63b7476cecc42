"""Plain kombu producers and consumers over the emulator."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kombu
import psutil
import pytest
from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from cutmv.transports.cloudflare.errors import (
    AccessDenied,
    ConfigurationError,
    MessageTooLarge,
    PublishFailed,
    QueueMissing,
    Unreachable,
)
from cutmv.transports.cloudflare.messages import envelope
from cutmv.transports.cloudflare.producer import Publisher
from tests.support.emulator import EmulatorProcess
from tests.support.transport import connect, noise, wait_until

QUEUE = kombu.Queue("work", kombu.Exchange("work"), routing_key="work")


def _publish(connection: kombu.Connection, *bodies: Any, queue: kombu.Queue = QUEUE) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(
            body, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue]
        )


def _drain(connection: kombu.Connection, done: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "messages did not come in time"
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            continue


def _receive(
    connection: kombu.Connection, count: int, ack: bool = True, prefetch: int = 0
) -> list[kombu.Message]:
    messages: list[kombu.Message] = []

    def take(message: kombu.Message) -> None:
        messages.append(message)
        if ack:
            message.ack()

    with connection.channel() as channel:
        channel.basic_qos(0, prefetch, False)
        with kombu.Consumer(channel, [QUEUE], on_message=take, accept=["json", "text/plain"]):
            _drain(connection, lambda: len(messages) >= count)
    return messages


def _put_raw(emulator: EmulatorProcess, queue_name: str, body: str) -> None:
    """Put a message on a queue as another program would."""
    url = f"{emulator.base_url}/accounts/{emulator.account_id}/queues"

    def call(path: str, data: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {emulator.api_token}"}
        request = urllib.request.Request(url + path, data, headers)
        return json.load(urllib.request.urlopen(request, timeout=10))["result"]

    (queue,) = [q for q in call("") if q["queue_name"] == queue_name]
    text = json.dumps({"body": body, "content_type": "text"}).encode()
    call(f"/{queue['queue_id']}/messages", text)


def test_messages_arrive_with_their_headers_and_are_gone_once_acked(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        connection.Producer().publish(
            {"n": 1},
            exchange="work",
            routing_key="work",
            declare=[QUEUE],
            headers={"colour": "blue"},
            correlation_id="c1",
        )
        (message,) = _receive(connection, 1)

    assert message.payload == {"n": 1}
    assert message.headers == {"colour": "blue"}
    assert message.properties["correlation_id"] == "c1"
    assert message.delivery_info["redelivered"] is False
    assert emulator.stats()["acked"] == 1
    assert emulator.stats()["messages"] == {"work": 0, "work-dead": 0}


def test_a_compressed_body_and_a_bytes_body_survive(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        producer = connection.Producer()
        where: dict[str, Any] = {"exchange": "work", "routing_key": "work", "declare": [QUEUE]}
        producer.publish({"n": "x" * 1000}, compression="zlib", **where)
        producer.publish(b"\x00\xff", content_type="application/data", **where)
        bodies = []
        with kombu.Consumer(
            connection,
            [QUEUE],
            callbacks=[lambda body, message: (bodies.append(body), message.ack())],
            accept=["json", "application/data"],
        ):
            _drain(connection, lambda: len(bodies) == 2)

    assert {"n": "x" * 1000} in bodies
    assert b"\x00\xff" in bodies


def test_a_requeued_message_comes_back_marked_as_redelivered_without_a_republish(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        _publish(connection, "x")
        deliveries: list[kombu.Message] = []

        def take(message: kombu.Message) -> None:
            deliveries.append(message)
            message.requeue() if len(deliveries) == 1 else message.ack()

        with kombu.Consumer(connection, [QUEUE], on_message=take):
            _drain(connection, lambda: len(deliveries) == 2)

    first, second = deliveries
    assert second.delivery_info["redelivered"] is True
    assert second.delivery_info["delivery_count"] == 2
    assert second.properties["message_id"] == first.properties["message_id"]
    assert emulator.stats()["published"] == 1


def test_a_rejected_message_is_a_dead_letter(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "x")
        seen = []
        with kombu.Consumer(connection, [QUEUE], on_message=lambda m: (seen.append(m), m.reject())):
            _drain(connection, lambda: bool(seen))

    assert emulator.stats()["messages"] == {"work": 0, "work-dead": 1}


def test_a_rejected_message_of_a_queue_without_dead_letters_is_gone(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator, dead_letter_queue="") as connection:
        _publish(connection, "x")
        seen = []
        with kombu.Consumer(connection, [QUEUE], on_message=lambda m: (seen.append(m), m.reject())):
            _drain(connection, lambda: bool(seen))

    assert emulator.stats()["messages"] == {"work": 0}


def test_closing_returns_at_once_what_was_not_acked(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, *range(5))
    with connect(emulator, ack_linger=5) as other:
        other.connect()  # shares the session, which goes on
        with connect(emulator, ack_linger=5) as connection:
            first = _receive(connection, 5, ack=False)
        assert emulator.stats()["leases_outstanding"] == 0
        second = _receive(other, 5)

    assert sorted(m.payload for m in first) == sorted(m.payload for m in second) == list(range(5))
    assert emulator.stats()["published"] == 5


def test_prefetch_bounds_what_is_leased(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, *range(30))
        held: list[kombu.Message] = []
        with connection.channel() as channel:
            channel.basic_qos(0, 4, False)
            with kombu.Consumer(channel, [QUEUE], on_message=held.append):
                _drain(connection, lambda: len(held) == 4)
                with pytest.raises(TimeoutError):
                    connection.drain_events(timeout=0.5)
                assert emulator.stats()["leases_outstanding"] == 4
                held.pop().ack()
                _drain(connection, lambda: len(held) == 4)


def test_a_queue_with_a_backlog_does_not_starve_another(emulator: EmulatorProcess) -> None:
    small = kombu.Queue("small", kombu.Exchange("small"), routing_key="small")
    with connect(emulator) as connection:
        producer = connection.Producer()
        with producer.batch():
            for n in range(300):
                producer.publish(n, exchange="work", routing_key="work", declare=[QUEUE])
        _publish(connection, "small", queue=small)
        order: list[Any] = []

        def take(body: Any, message: kombu.Message) -> None:
            order.append(body)
            message.ack()

        with connection.channel() as channel:
            channel.basic_qos(0, 8, False)
            with kombu.Consumer(channel, [QUEUE, small], callbacks=[take]):
                _drain(connection, lambda: len(order) == 301)

    assert order.index("small") < 150


def test_kombu_s_batch_block_makes_few_calls(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        producer = connection.Producer()
        assert producer.supports_batch_publish
        with producer.batch():
            for n in range(250):
                producer.publish(n, exchange="work", routing_key="work", declare=[QUEUE])
            assert emulator.stats()["published"] == 200  # a full call does not wait

    assert emulator.stats()["published"] == 250
    assert emulator.stats()["calls"]["batch"] == {"200": 3}


def test_concurrent_publishers_share_calls(make_emulator: Callable[..., EmulatorProcess]) -> None:
    emulator = make_emulator(latency_ms=30)
    with connect(emulator) as connection:
        _publish(connection, "first")

    def run() -> None:
        with connect(emulator) as connection:
            _publish(connection, *range(20))

    with connect(emulator) as keeper:
        keeper.connect()  # the process has one session all the time
        threads = [threading.Thread(target=run) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    stats = emulator.stats()
    assert stats["published"] == 321
    assert stats["calls"]["batch"]["200"] < 321 / 4
    assert stats["calls"]["list"]["200"] <= 2


def test_one_message_over_128_kb_fails_at_once_without_a_call(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "small")
        with pytest.raises(MessageTooLarge, match=r"128,000 at most"):
            _publish(connection, noise(129_000))

    assert emulator.stats()["calls"]["batch"] == {"200": 1}


def test_large_messages_are_split_over_calls_of_256_kb(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        producer = connection.Producer()
        with producer.batch():
            for _ in range(6):
                producer.publish(
                    "x" * 100_000, exchange="work", routing_key="work", declare=[QUEUE]
                )

    assert emulator.stats()["calls"]["batch"] == {"200": 3}


def test_of_the_two_copies_that_a_dropped_answer_makes_one_comes_and_both_go(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        _publish(connection, "before")
        emulator.faults({"route": "batch", "kind": "drop_after", "count": 1})
        _publish(connection, "twice")
        assert emulator.stats()["messages"]["work"] == 3
        messages = _receive(connection, 2)
        assert [message.payload for message in messages] == ["before", "twice"]
        wait_until(lambda: emulator.stats()["messages"]["work"] == 0, what="both are gone")


@pytest.mark.parametrize("kind", ["429", "500", "503", "drop_before", "garbage"])
def test_a_publish_survives_a_passing_fault(emulator: EmulatorProcess, kind: str) -> None:
    with connect(emulator) as connection:
        _publish(connection, "before")
        emulator.faults({"route": "batch", "kind": kind, "count": 2, "retry_after": 0})
        _publish(connection, "after")

    assert emulator.stats()["published"] >= 2


def test_a_publish_that_is_refused_is_not_tried_again(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "before")
        emulator.faults({"route": "batch", "kind": "refused", "status": 401, "code": 10000})
        with pytest.raises(PublishFailed, match="refused the API token") as caught:
            _publish(connection, "after")

    assert isinstance(caught.value, OperationalError)
    assert emulator.stats()["calls"]["batch"] == {"200": 1, "401": 1}


def test_a_publish_fails_within_its_timeout_when_nothing_answers(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator, publish_timeout=1.0) as connection:
        _publish(connection, "before")
        emulator.faults({"route": "batch", "kind": "hang"})
        started = time.monotonic()
        with pytest.raises(PublishFailed, match="gave no answer"):
            _publish(connection, "after")
        assert time.monotonic() - started < 4
        started = time.monotonic()
        with pytest.raises(PublishFailed, match="gave no answer"):
            connection.Producer().publish("after", routing_key="work", timeout=1.6)
        assert time.monotonic() - started >= 1.5, "a publish's own timeout counts"
        emulator.clear_faults()


def test_a_publisher_behind_one_that_hangs_gets_its_turn(emulator: EmulatorProcess) -> None:
    outcomes: dict[str, str] = {}

    def run(name: str) -> None:
        with connect(emulator, publish_timeout=1.5) as connection:
            try:
                _publish(connection, name)
                outcomes[name] = "accepted"
            except PublishFailed:
                outcomes[name] = "failed"

    with connect(emulator, publish_timeout=1.5) as connection:
        _publish(connection, "before")
        emulator.faults({"route": "batch", "kind": "hang", "count": 1})
        first, second = (threading.Thread(target=run, args=[name]) for name in ("one", "two"))
        first.start()
        wait_until(lambda: emulator.stats()["calls"]["batch"].get("hang") or _hangs(connection))
        time.sleep(0.7)  # the first caller's time is half over
        second.start()
        first.join()
        second.join()

    assert outcomes == {"one": "failed", "two": "accepted"}


def _hangs(connection: kombu.Connection) -> bool:
    """Tell whether a publishing call is under way in this process."""
    publisher = connection.transport.session.publishers.to("work")
    return bool(publisher._leader and not publisher._waiting)


def test_retry_after_is_obeyed(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "before")
        emulator.faults({"route": "batch", "kind": "429", "count": 1, "retry_after": 2})
        started = time.monotonic()
        _publish(connection, "after")

    assert time.monotonic() - started >= 2


def test_acks_are_tried_until_they_are_accepted(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, *range(3))
        emulator.faults({"route": "ack", "kind": "500", "count": 4})
        _receive(connection, 3)

    assert emulator.stats()["acked"] == 3


def test_a_pull_whose_answer_is_lost_comes_back_when_its_lease_ends(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator, visibility_timeout=1) as connection:
        _publish(connection, "x")
        emulator.faults({"route": "pull", "kind": "drop_after", "count": 1})
        (message,) = _receive(connection, 1)

    assert message.delivery_info["delivery_count"] == 2


def test_a_message_that_is_no_envelope_is_rejected_and_the_next_one_arrives(
    emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(emulator) as connection:
        QUEUE(connection.channel()).declare()
        for body in ("no json", "[1, 2]", '{"body": 1, "properties": []}'):
            _put_raw(emulator, "work", body)
        _publish(connection, "good")
        (message,) = _receive(connection, 1)
        wait_until(lambda: emulator.stats()["acked"] == 4, what="all four are gone")

    assert message.payload == "good"
    assert caplog.text.count("is rejected") == 3


def test_a_missing_queue_is_created_with_a_pull_consumer_once(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        channel = connection.channel()
        QUEUE(channel).declare()
        QUEUE(connection.channel()).declare()
    with connect(emulator) as connection:
        QUEUE(connection.channel()).declare()

    calls = emulator.stats()["calls"]
    assert calls["create"] == {"200": 2}  # the queue, and the one for its dead letters
    assert calls["edit"] == {"200": 1}  # how long that keeps them
    assert calls["create_consumer"] == {"200": 1}


def test_processes_that_declare_at_once_all_succeed(emulator: EmulatorProcess) -> None:
    emulator.faults({"route": "create", "kind": "drop_after", "count": 1})
    with connect(emulator) as connection:
        _publish(connection, "x")

    assert emulator.stats()["messages"] == {"work": 1, "work-dead": 0}


def test_a_missing_queue_that_may_not_be_created_names_the_commands(
    emulator: EmulatorProcess,
) -> None:
    with (
        connect(emulator, create_missing_queues=False) as connection,
        pytest.raises(QueueMissing) as caught,
    ):
        _publish(connection, "x")

    assert "npx wrangler queues create work" in str(caught.value)
    assert "npx wrangler queues consumer http add work" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_queue_declared_elsewhere_is_found_without_being_created(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        _publish(connection, "x")
    with connect(emulator, create_missing_queues=False) as connection:
        _publish(connection, "y")
        assert len(_receive(connection, 2)) == 2


def test_a_passive_declaration_counts_or_says_that_there_is_none(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        _publish(connection, 1, 2)
        channel = connection.channel()
        assert channel.queue_declare("work", passive=True).message_count == 2
        with pytest.raises(ChannelError, match="no queue 'nowhere'"):
            channel.queue_declare("nowhere", passive=True)


def test_purging_and_deleting(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, 1, 2, 3)
        channel = connection.channel()
        assert channel.queue_purge("work") == 3
        assert channel.queue_declare("work", passive=True).message_count == 0
        channel.queue_delete("work")

    assert emulator.stats()["messages"] == {"work-dead": 0}


def test_a_deletion_whose_answer_got_lost_is_one(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, 1)
        emulator.faults({"route": "delete", "kind": "drop_after", "count": 1})
        connection.channel().queue_delete("work")
        with pytest.raises(ChannelError, match="no queue 'work'"):
            connection.channel().queue_declare("work", passive=True)

    assert emulator.stats()["messages"] == {"work-dead": 0}


def test_a_queue_deleted_and_made_anew_is_published_to_by_its_new_id(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as one, connect(emulator, rate_reserve=0.2) as other:
        _publish(one, "x")
        _publish(other, "y")
        other.channel().queue_delete("work")
        _publish(one, "z")

    assert emulator.stats()["messages"] == {"work": 1, "work-dead": 0}


def test_simple_queues_work(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection, connection.SimpleQueue("simple") as queue:
        queue.put({"n": 1})
        message = queue.get(timeout=10)
        message.ack()
        assert message.payload == {"n": 1}
        with pytest.raises(queue.Empty):
            queue.get(block=False)


def test_a_single_message_can_be_got(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "x")
        channel = connection.channel()
        message = channel.basic_get("work")
        assert message.decode() == "x"
        message.ack()
        assert channel.basic_get("work") is None

    assert emulator.stats()["acked"] == 1


def test_a_fanout_reaches_every_temporary_queue_of_the_process_without_a_publish(
    emulator: EmulatorProcess,
) -> None:
    exchange = kombu.Exchange("news", type="fanout")
    queues = [kombu.Queue(f"news.{n}", exchange, auto_delete=True) for n in range(2)]
    with connect(emulator) as listener, connect(emulator) as speaker:
        heard: list[tuple[str, Any]] = []
        with kombu.Consumer(
            listener,
            queues,
            callbacks=[lambda body, message: (heard.append(body), message.ack())],
        ):
            speaker.Producer().publish("hello", exchange=exchange, declare=[exchange])
            _drain(listener, lambda: len(heard) == 2)

        assert heard == ["hello", "hello"]
    stats = emulator.stats()
    assert stats["published"] == 0
    assert stats["messages"] == {}, "a binding queue is left behind"


def test_a_token_without_its_colon_is_one_line_and_never_shown() -> None:
    connection = kombu.Connection("cloudflare://tokentoken@account")
    for each in (connection, connection.clone()):
        assert "tokentoken" not in each.as_uri() + str(each.info()) + repr(each)
        with pytest.raises(ConfigurationError, match=":API_TOKEN@ACCOUNT_ID, with the colon") as e:
            each.connect()
        assert "tokentoken" not in str(e.value)


def test_the_wrong_token_is_one_line_and_an_operational_error(emulator: EmulatorProcess) -> None:
    connection = kombu.Connection(
        f"cloudflare://:wrong@{emulator.account_id}",
        transport_options={"api_base_url": emulator.base_url},
    )
    with pytest.raises(
        AccessDenied, match=r"refused the API token.*CLOUDFLARE_API_TOKEN"
    ) as caught:
        connection.connect()
    with pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=1, interval_start=0)
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value).replace("wrong token", "")


@pytest.mark.parametrize("wrong", ["account", "address"])
def test_the_wrong_account_is_one_line(emulator: EmulatorProcess, wrong: str) -> None:
    address = emulator.base_url.removesuffix("/client/v4") if wrong == "address" else ""
    connection = kombu.Connection(
        f"cloudflare://:{emulator.api_token}@{'f' * 32}",
        transport_options={"api_base_url": address or emulator.base_url},
    )
    what = "CLOUDFLARE_API_BASE_URL" if address else "CLOUDFLARE_ACCOUNT_ID|CLOUDFLARE_API_TOKEN"
    with pytest.raises(AccessDenied, match=f"{'f' * 32}.*({what})") as caught:
        connection.connect()
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line_and_comes_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connection = kombu.Connection(
        "cloudflare://:token@account",
        transport_options={"api_base_url": f"http://proxy:hunter2@127.0.0.1:{port}/client/v4"},
    )
    started = time.monotonic()
    with pytest.raises(Unreachable, match=f"//127.0.0.1:{port} gave no answer") as caught:
        connection.connect()
    assert time.monotonic() - started < 8, "it is tried for the 5 s that a publish may take"
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_one_lost_answer_does_not_fail_the_first_publish(emulator: EmulatorProcess) -> None:
    emulator.faults({"route": "list", "kind": "drop_after", "count": 1})
    with Celery("app", broker=f"cloudflare://:{emulator.api_token}@{emulator.account_id}") as app:
        app.conf.broker_transport_options = {"api_base_url": emulator.base_url}
        app.send_task("anything")

    assert emulator.stats()["published"] == 1


def test_a_dead_network_is_told_in_seconds_however_often_kombu_tries() -> None:
    """The server takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        app = Celery("dead", broker="cloudflare://:token@account")
        app.conf.broker_transport_options = {
            "api_base_url": f"http://127.0.0.1:{server.getsockname()[1]}/client/v4"
        }
        started = time.monotonic()
        with pytest.raises(OperationalError, match="gave no answer"):
            app.send_task("anything")
        assert time.monotonic() - started < 10


def test_a_token_with_odd_characters_may_be_url_encoded(
    make_emulator: Callable[..., EmulatorProcess],
) -> None:
    emulator = make_emulator()
    with kombu.Connection(
        "cloudflare://:emulator%2Dtoken@" + emulator.account_id,
        transport_options={"api_base_url": emulator.base_url},
    ) as connection:
        connection.connect()


def test_the_token_is_in_no_log_line_and_no_repr(
    emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "kombu", "h11", "cutmv"):
        caplog.set_level(logging.DEBUG, logger=name)
    with connect(emulator) as connection:
        emulator.faults({"route": "batch", "kind": "500", "count": 1})
        _publish(connection, "x")
        _receive(connection, 1)
        shown = [repr(connection), connection.as_uri(), repr(connection.transport.session)]
        shown.append(repr(connection.transport.session.credentials))

    assert emulator.api_token not in caplog.text
    assert all(emulator.api_token not in text for text in shown)


def test_nothing_is_left_after_the_last_close(emulator: EmulatorProcess) -> None:
    def sockets() -> set[tuple[object, ...]]:
        """Those that are open; what another test has left may be closed meanwhile."""
        return {(each.fd, each.laddr) for each in psutil.Process().net_connections("all")}

    before, threads_before = sockets(), set(threading.enumerate())

    def ours() -> list[str]:
        """Threads of the transport that no other test has left."""
        new = set(threading.enumerate()) - threads_before
        return [thread.name for thread in new if thread.name.startswith("cloudflare")]

    with connect(emulator) as connection:
        _publish(connection, "x")
        _receive(connection, 1)
        assert ours()

    assert ours() == []
    assert sockets() - before == set()


@contextmanager
def _locked_by_a_thread(lock: threading.Condition) -> Iterator[None]:
    """Hold `lock` in another thread, as one of the transport's might at a fork."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    yield
    done.set()
    thread.join()


def test_a_child_may_close_what_its_parent_opened_without_a_call(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        _publish(connection, "x")
        held: list[kombu.Message] = []
        with kombu.Consumer(connection, [QUEUE], on_message=held.append):
            _drain(connection, lambda: bool(held))
            with _locked_by_a_thread(held[0].channel.qos._change):
                child = os.fork()
                if child == 0:
                    signal.alarm(10)  # the lock of the parent's thread would hold it for ever
                    connection.collect()
                    os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0
            assert emulator.stats()["retried"] == 0
            held.pop().ack()

    assert emulator.stats()["acked"] == 1


def test_a_producer_opened_before_a_fork_works_in_parent_and_child(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection:
        producer = connection.Producer()
        where: dict[str, Any] = {"exchange": "work", "routing_key": "work", "declare": [QUEUE]}
        producer.publish("before", **where)
        child = os.fork()
        if child == 0:
            try:
                producer.publish("child", **where)
                connection.release()
                os._exit(0)
            except BaseException:
                os._exit(1)
        producer.publish("parent", **where)
        _, status = os.waitpid(child, 0)
        assert status == 0
        messages = _receive(connection, 3)

    assert {m.payload for m in messages} == {"before", "child", "parent"}


def test_an_outage_is_waited_out_by_a_consumer(emulator: EmulatorProcess) -> None:
    with connect(emulator) as connection:
        _publish(connection, "before")
        seen: list[Any] = []

        def take(body: Any, message: kombu.Message) -> None:
            seen.append(body)
            message.ack()

        with kombu.Consumer(connection, [QUEUE], callbacks=[take]):
            _drain(connection, lambda: seen == ["before"])
            emulator.kill()
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=0.5)
            emulator.start()
            _publish(connection, "after")
            _drain(connection, lambda: seen[-1] == "after", 30)


def test_a_queue_deleted_under_a_consumer_is_a_connection_error(
    emulator: EmulatorProcess,
) -> None:
    with connect(emulator) as connection, connect(emulator, rate_reserve=0.2) as other:
        QUEUE(connection.channel()).declare()
        with kombu.Consumer(connection, [QUEUE], callbacks=[lambda b, m: m.ack()]):
            other.channel().queue_delete("work")
            with pytest.raises(connection.connection_errors, match="can't be pulled from"):
                _drain(connection, lambda: False, 10)


def test_the_budget_is_kept_and_no_call_is_refused(emulator: EmulatorProcess) -> None:
    """As many calls as one thread can make, until the budget stops it: none answered 429."""
    with (
        connect(emulator, publish_timeout=0.5) as connection,
        pytest.raises(PublishFailed, match="budget of REST calls is used up"),
    ):
        for number in range(2000):
            _publish(connection, number)

    stats = emulator.stats()
    assert stats["refused"] == 0
    assert stats["calls"]["batch"].keys() == {"200"}
    assert stats["calls"]["batch"]["200"] > 500


def test_a_publish_to_several_queues_that_fails_says_which_have_it(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = kombu.Exchange("news", type="topic")
    queues = [kombu.Queue(name, news, routing_key="#") for name in ("one", "two", "three")]
    publish, tried, encoded = Publisher.publish, [], []
    encode = envelope.encode

    def fail_at_the_second(self: Publisher, messages: Any, *options: Any) -> None:
        tried.append(str(self._name))
        if len(tried) == 2:
            raise PublishFailed(f"publishing to queue {self._name!r} failed: HTTP 500", status=500)
        publish(self, messages, *options)

    def count(message: Any) -> str:
        encoded.append(message)
        return encode(message)

    with connect(emulator) as connection:
        for queue in queues:
            queue(connection.channel()).declare()
        producer = connection.Producer()
        monkeypatch.setattr(envelope, "encode", count)
        producer.publish("well", exchange=news, routing_key="any")
        assert len(encoded) == 1
        monkeypatch.setattr(Publisher, "publish", fail_at_the_second)
        with pytest.raises(PublishFailed) as caught:
            producer.publish("ill", exchange=news, routing_key="any")

    has, has_not = tried
    assert str(caught.value) == (
        f"publishing to queue {has_not!r} failed: HTTP 500; queue {has!r} has it"
    )
    assert caught.value.status == 500
    held = emulator.stats()["messages"]
    assert sorted(held[queue.name] for queue in queues) == [1, 1, 2]
    assert held[has] == 2
