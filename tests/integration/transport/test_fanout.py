"""Remote control, events and Flower between processes: the same on Redis and on Cloudflare.

There they go by queues, or by the hub where there is an edge Worker; tests of the queues themselves
(binding queues) name no broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from cutmv.transports.cloudflare.errors import QueueMissing
from cutmv.transports.cloudflare.fanout import events, pace, reaper
from cutmv.transports.cloudflare.queues import binding_table
from cutmv.transports.cloudflare.queues.bindings import DurableBinding, TemporaryBinding
from tests.support.emulator import EmulatorProcess
from tests.support.flower import flower
from tests.support.fork_server import python, run_python
from tests.support.site import EVERYWHERE, HUB, hub_options, went_by_the_hub
from tests.support.transport import CloudflareSite, Site, connect, wait_until

#: Seconds in which every worker must have answered, at 50 ms to the broker and back.
REPLY_S = 2.0
BOTH = ["w0@test", "w1@test"]

everywhere = pytest.mark.parametrize("site", EVERYWHERE, indirect=True)

CONTROL = """
import json, sys
from tests.support.transport_app import app
method, arguments, options = json.load(sys.stdin)
if hasattr(app.control.inspect(), method):
    inspect = app.control.inspect(timeout=options.pop("timeout"), **options)
    answer = getattr(inspect, method)(*arguments)
else:
    answer = getattr(app.control, method)(*arguments, **options)
print(json.dumps(answer, default=str))
"""

LISTEN = """
import json, sys
from tests.support.transport_app import app
def on_event(event):
    print(json.dumps(event, default=str), flush=True)
with app.connection_for_read() as connection:
    app.events.Receiver(connection, handlers={"*": on_event}).capture()
"""


@pytest.fixture
def latency_ms() -> int:
    return 50


def ask(site: Site, method: str, *arguments: Any, **options: Any) -> Any:
    """What a process of its own, as `celery inspect` is one, gets for an answer."""
    if method in ("rate_limit", "add_consumer", "cancel_consumer", "pool_grow", "time_limit"):
        options |= {"reply": True}
    told = json.dumps([method, arguments, {"timeout": REPLY_S, **options}])
    ran = run_python("-c", CONTROL, env=site.env(), input=told, check=True)
    return json.loads(ran.stdout)


def by_worker(replies: list[dict[str, Any]]) -> dict[str, Any]:
    return {worker: answer for reply in replies for worker, answer in reply.items()}


@pytest.mark.slow
@everywhere
def test_inspect_reaches_every_worker(site: Site, tmp_path: Path) -> None:
    # Each takes no more than it can run at once, so that both have some.
    workers = [site.worker(sociable=True, env={"TRANSPORT_PREFETCH": "1"}) for _ in range(2)]
    for worker in workers:
        site.ready(worker)
    site.send("hold", "busy", str(tmp_path / "go"), count=4)
    wait_until(lambda: len(site.notes("started")) == 4, 30, "all are busy")

    assert ask(site, "ping", limit=2) == {worker: {"ok": "pong"} for worker in BOTH}
    stats = ask(site, "stats", limit=2)
    assert sorted(stats) == BOTH
    assert all(stats[worker]["pool"]["max-concurrency"] == 2 for worker in BOTH)
    registered = ask(site, "registered", limit=2)
    assert all("tests.support.transport_app.hold" in registered[worker] for worker in BOTH)
    active = ask(site, "active", limit=2)
    assert sorted(active) == BOTH
    ids = sorted(note["id"] for note in site.notes("started"))
    assert sorted(task["id"] for worker in BOTH for task in active[worker]) == ids
    queried = ask(site, "query_task", ids[0], limit=2)
    assert [*queried["w0@test"], *queried["w1@test"]] == [ids[0]]
    for method in ("reserved", "scheduled", "revoked", "active_queues", "conf", "report"):
        assert sorted(ask(site, method, limit=2)) == BOTH, method
    assert list(ask(site, "ping", destination=["w1@test"], limit=1)) == ["w1@test"]
    (tmp_path / "go").touch()


@pytest.mark.slow
@everywhere
def test_control_changes_running_workers(site: Site, tmp_path: Path) -> None:
    workers = [site.worker(sociable=True) for _ in range(2)]
    for worker in workers:
        site.ready(worker)

    grown = by_worker(ask(site, "pool_grow", 1, limit=2))
    assert all("ok" in grown[worker] for worker in BOTH)

    def processes() -> list[int]:
        stats = ask(site, "stats", limit=2)
        return [len(stats[worker]["pool"]["processes"]) for worker in BOTH]

    wait_until(lambda: processes() == [3, 3], 30, "each has a third process")

    limited = by_worker(
        ask(site, "rate_limit", "tests.support.transport_app.record", "100/m", limit=2)
    )
    assert all("ok" in limited[worker] for worker in BOTH)
    timed = by_worker(ask(site, "time_limit", "tests.support.transport_app.hold", 50, 40, limit=2))
    assert all("ok" in timed[worker] for worker in BOTH)

    added = ask(site, "add_consumer", "extra", destination=["w0@test"], limit=1)
    assert "ok" in by_worker(added)["w0@test"]
    site.send("record", "extra", queue="extra")
    wait_until(lambda: site.notes("record"), 30, "the new queue is consumed")
    cancelled = ask(site, "cancel_consumer", "extra", destination=["w0@test"], limit=1)
    assert "ok" in by_worker(cancelled)["w0@test"]
    queues = ask(site, "active_queues", limit=2)
    assert [queue["name"] for queue in queues["w0@test"]] == ["work"]


@pytest.mark.slow
@everywhere
def test_revoke_terminates_a_running_task(site: Site, tmp_path: Path) -> None:
    site.ready(site.worker(sociable=True))
    site.send("hold", "victim", str(tmp_path / "never"))
    wait_until(lambda: site.notes("started"), 30, "it runs")

    (started,) = site.notes("started")
    revoke = f"app.control.revoke({started['id']!r}, terminate=True)"
    code = f"from tests.support.transport_app import app; {revoke}"
    run_python("-c", code, env=site.env(), check=True, timeout=30)

    wait_until(lambda: not any(ask(site, "active", limit=1).values()), 30, "it is terminated")
    assert site.notes("ended") == []


@pytest.mark.slow
@everywhere
def test_shutdown_ends_the_worker_that_is_meant(site: Site) -> None:
    first, second = (site.worker(sociable=True) for _ in range(2))
    for worker in (first, second):
        site.ready(worker)

    code = (
        "from tests.support.transport_app import app; app.control.shutdown(destination=['w0@test'])"
    )
    run_python("-c", code, env=site.env(), check=True, timeout=30)

    assert first.child.wait(30) == 0
    assert list(ask(site, "ping")) == ["w1@test"]
    assert second.child.poll() is None


@everywhere
def test_workers_meet(site: Site) -> None:
    first = site.ready(site.worker(sociable=True))
    second = site.ready(site.worker(sociable=True))

    assert "mingle: sync with 1 nodes" in second.log()
    assert "Traceback" not in first.log() + second.log()


@pytest.mark.slow
@everywhere
def test_events_reach_a_listener_in_another_process(site: Site, tmp_path: Path) -> None:
    for worker in [site.worker("-E", sociable=True) for _ in range(2)]:
        site.ready(worker)
    output = tmp_path / "events"
    with output.open("wb") as out:
        listener = python("-c", LISTEN, env=site.env(), stdout=out)

    def events(kind: str) -> list[dict[str, Any]]:
        lines = output.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["type"] == kind]

    try:
        wait_until(
            lambda: {event["hostname"] for event in events("worker-heartbeat")} == set(BOTH),
            30,
            "both are heard",
        )
        site.send("record", "x", count=20)
        wait_until(lambda: len(events("task-succeeded")) == 20, 30, "each task is told of")
        ids = {event["uuid"] for event in events("task-succeeded")}
        assert ids == {note["id"] for note in site.notes("record")}
        for kind in ("task-received", "task-started"):
            assert {event["uuid"] for event in events(kind)} == ids
    finally:
        listener.terminate()
        listener.wait(20)


@pytest.mark.slow
@everywhere
def test_flower_shows_workers_and_tasks(site: Site, tmp_path: Path) -> None:
    for worker in [site.worker("-E", sociable=True) for _ in range(2)]:
        site.ready(worker)
    with flower(site, tmp_path) as get:
        wait_until(lambda: sorted(get("workers?refresh=1")) == BOTH, 60, "it knows both workers")
        site.send("record", "x", count=5)
        wait_until(
            lambda: [task["state"] for task in get("tasks").values()] == ["SUCCESS"] * 5,
            30,
            "it shows what became of the tasks",
        )
        status = get("workers?status=1")
        assert status == dict.fromkeys(BOTH, True)


@pytest.mark.slow
def test_binding_queues_go_with_their_processes(
    make_emulator: Callable[..., EmulatorProcess], tmp_path: Path
) -> None:
    site = CloudflareSite(make_emulator(), tmp_path)
    try:
        workers = [site.ready(site.worker(sociable=True)) for _ in range(2)]
        ask(site, "ping", limit=2)

        def binding_queues() -> list[str]:
            names = site.emulator.stats()["messages"]
            return [name for name in names if TemporaryBinding.read(name)]

        # Remote control and gossip; those for the replies to a ping and to mingle have expired.
        wait_until(lambda: len(binding_queues()) == 4, 40, "two workers have two each")
        for worker in workers:
            worker.term()
        for worker in workers:
            assert worker.child.wait(20) == 0
        assert list(site.emulator.stats()["messages"]) == ["work", "work-dead"]
    finally:
        site.close()


def test_a_temporary_queue_needs_no_lease_ledger(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """A process that only inspects workers may lack what its app's workers have."""
    with connect(emulator, lease_ledger=(tmp_path / "ledger").as_uri()) as connection:
        exchange = kombu.Exchange("news", type="fanout")
        kombu.Queue("mine", exchange, auto_delete=True)(connection.channel()).declare()
        assert [name for name in emulator.stats()["messages"] if TemporaryBinding.read(name)]

    assert not (tmp_path / "ledger").exists()


def test_a_binding_queue_that_nobody_reads_is_deleted_by_who_writes_to_it(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reaper, "CHECK_INTERVAL", 0.5)
    monkeypatch.setattr(reaper, "UNREAD_AFTER", 0.5)
    site = CloudflareSite(emulator, tmp_path)
    worker = site.ready(site.worker(sociable=True))
    worker.kill()
    binding_queues = [name for name in emulator.stats()["messages"] if TemporaryBinding.read(name)]
    assert binding_queues

    exchange = kombu.Exchange("celery.pidbox", type="fanout", durable=False)
    with connect(emulator) as connection:
        producer = connection.Producer()

        def reaped() -> bool:
            producer.publish({"method": "nothing"}, exchange=exchange, declare=[exchange])
            left = [name for name in emulator.stats()["messages"] if TemporaryBinding.read(name)]
            return len(left) < len(binding_queues)

        wait_until(reaped, 30, "the binding queue of the dead worker is gone")
    assert "work" in emulator.stats()["messages"]


def test_an_unbound_queue_gets_nothing_any_more(emulator: EmulatorProcess) -> None:
    exchange = kombu.Exchange("news", type="topic", durable=False)
    queue = kombu.Queue("reader", exchange, routing_key="sport.#", auto_delete=True)
    with connect(emulator) as connection:
        channel = connection.channel()
        bound = queue(channel)
        bound.declare()
        assert [name for name in emulator.stats()["messages"] if TemporaryBinding.read(name)]
        bound.unbind_from(exchange, routing_key="sport.#")
        assert [name for name in emulator.stats()["messages"] if TemporaryBinding.read(name)] == []
        connection.Producer().publish("x", exchange=exchange, routing_key="sport.tennis")
        assert channel.basic_get("reader") is None


@pytest.mark.slow
def test_events_are_dropped_before_they_cost_a_task_its_turn(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = kombu.Exchange("celeryev", type="topic")
    # Forty calls a minute: twelve for events, and half of all without waiting.
    scarce = {"rate_limit": 40, "rate_window": 60.0, "rate_reserve": 0.0}
    # Of different options, so that they share no more than two processes would.
    reading = connect(emulator, ack_linger=0.2)
    with connect(emulator, **scarce) as sender, reading as reader:
        queue = kombu.Queue("ev", exchange, routing_key="#", auto_delete=True)
        queue(reader.channel()).declare()
        producer = sender.Producer(exchange=exchange)
        tasks = sender.SimpleQueue("tasks")
        calls_before = emulator.stats()["calls"].get("batch", {}).get("200", 0)
        broadcaster = sender.transport.session.broadcaster

        monkeypatch.setattr(events, "MAX_WAITING", 1_000)
        for number in range(13_000):
            producer.publish({"n": number}, routing_key="task.sent", delivery_mode=1)
        for _ in range(10):
            started = time.monotonic()
            tasks.put("a task")
            assert time.monotonic() - started < 5

        wait_until(lambda: broadcaster.dropped, 30, "what found no room is counted")
        calls = emulator.stats()["calls"]["batch"]["200"] - calls_before
        assert calls <= 10 + 12, "events took calls from tasks"
        assert emulator.stats()["messages"]["tasks"] == 10


PUBLISH = """
import json, os, sys
import kombu
import cutmv.transports.cloudflare
url, options, exchange, kind, key, text, *more = json.load(sys.stdin)
with kombu.Connection(url, transport_options=options) as connection:
    producer = connection.Producer(exchange=kombu.Exchange(exchange, type=kind))
    if "declare" in more:
        exchange = exchange and producer.exchange
        kombu.Queue("passing", exchange, routing_key=key, auto_delete=True)(
            producer.channel
        ).declare()
    mode = 1 if "transient" in more else 2
    producer.publish(text, routing_key=key, delivery_mode=mode)
    if "die" in more:
        os._exit(0)
"""


DIRECT = ("direct", "cuts", "cuts", "stills")
TOPIC = ("topic", "media.*.cut", "media.video.cut", "media.video.still")
FANOUT = ("fanout", "", "whatever", None)


@pytest.mark.parametrize(
    ("broker", "kind", "bound", "key", "other"),
    [
        ("cloudflare", *DIRECT),
        ("redis", *DIRECT),
        ("cloudflare", *TOPIC),
        ("redis", *TOPIC),
        ("cloudflare", *FANOUT),  # on Redis a queue gets such messages only while it is read
    ],
    indirect=["broker"],
)
def test_a_process_that_knows_no_binding_reaches_a_lasting_queue(
    broker: tuple[str, dict[str, Any]],
    kind: str,
    bound: str,
    key: str,
    other: str | None,
) -> None:
    url, options = broker
    exchange = kombu.Exchange("media", type=kind)

    def publish(key: str, text: str) -> None:
        told = json.dumps([url, options, "media", kind, key, text])
        run_python("-c", PUBLISH, env=os.environ, input=told, check=True, timeout=30)

    with kombu.Connection(url, transport_options=options) as connection:
        channel = connection.channel()
        queue = kombu.Queue("cutting", exchange, routing_key=bound)(channel)
        queue.declare()
        if other:
            publish(other, "for nobody")
        publish(key, "for the queue")

        message = wait_until(queue.get, 10, "it came")
        assert message.payload == "for the queue"
        message.ack()
        if url.startswith("cloudflare:"):  # kombu's Redis transport can't unbind
            queue.unbind_from(exchange, routing_key=bound)
            publish(key, "too late")
            assert queue.get() is None
        queue.delete()


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    if request.param == "redis":
        yield request.getfixturevalue("redis_url"), {}
        return
    emulator: EmulatorProcess = request.getfixturevalue("emulator")
    url = f"cloudflare://:{emulator.api_token}@{emulator.account_id}"
    options = {"api_base_url": emulator.base_url}
    if request.param == "cloudflare":
        yield url, options
        return
    yield url, options | hub_options(request.getfixturevalue("hub_worker"))
    if request.param == "hub":
        went_by_the_hub(emulator)


def test_bindings_go_with_their_queue_and_cost_nothing_where_the_name_says_it(
    emulator: EmulatorProcess,
) -> None:
    def routes() -> list[str]:
        return [name for name in emulator.stats()["messages"] if DurableBinding.read(name)]

    with connect(emulator) as connection:
        channel = connection.channel()
        kombu.Queue("celery", kombu.Exchange("celery"), routing_key="celery")(channel).declare()
        assert routes() == []
        bound = kombu.Queue("cuts", kombu.Exchange("media", type="topic"), routing_key="cut.#")
        bound(channel).declare()
        bound(channel).declare()
        assert len(routes()) == 1
        bound(channel).delete()
        assert routes() == []


def publish_elsewhere(broker: tuple[str, dict[str, Any]], *told: str) -> None:
    """Publish in a process of its own: exchange, type, key, text, and what PUBLISH knows."""
    given = json.dumps([*broker, *told])
    run_python("-c", PUBLISH, env=os.environ, input=given, check=True, timeout=30)


@pytest.mark.parametrize(
    "broker",
    # The hub keeps nothing for a queue that nobody reads yet.
    ["cloudflare", "redis", pytest.param("hub and binding queues", marks=pytest.mark.edge)],
    indirect=True,
)
def test_a_task_for_a_temporary_queue_that_its_sender_declared_reaches_a_reader_elsewhere(
    broker: tuple[str, dict[str, Any]],
) -> None:
    exchange = kombu.Exchange("passing", type="direct")
    publish_elsewhere(broker, "passing", "direct", "go", "before there is a reader", "declare")
    url, options = broker
    with kombu.Connection(url, transport_options=options) as connection:
        queue = kombu.Queue("passing", exchange, routing_key="go", auto_delete=True)
        got: list[str] = []
        with connection.Consumer(queue, callbacks=[lambda body, _: got.append(body)], no_ack=True):
            publish_elsewhere(broker, "passing", "direct", "go", "while there is one", "declare")
            publish_elsewhere(broker, "passing", "direct", "go", "by one who knows the exchange")
            wait_until(lambda: drained(connection) or len(got) == 3, 10, "all three came")
    assert sorted(got) == [
        "before there is a reader",
        "by one who knows the exchange",
        "while there is one",
    ]


def drained(connection: kombu.Connection) -> None:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.2)


def test_a_temporary_queue_is_got_from_measured_and_purged_by_who_sent_to_it(
    emulator: EmulatorProcess,
) -> None:
    exchange = kombu.Exchange("passing", type="direct")
    with connect(emulator) as connection:
        channel = connection.channel()
        queue = kombu.Queue("passing", exchange, routing_key="go", auto_delete=True)(channel)
        queue.declare()
        producer = connection.Producer(exchange=exchange, routing_key="go")
        for text in ("one", "two", "three"):
            producer.publish(text)
        (name,) = [name for name in emulator.stats()["messages"] if TemporaryBinding.read(name)]
        assert emulator.stats()["messages"][name] == 3
        assert queue.queue_declare(passive=True).message_count == 3
        assert {queue.get(no_ack=True).payload for _ in range(2)} < {"one", "two", "three"}
        wait_until(lambda: emulator.stats()["messages"][name] == 1, 10, "two are acked")
        assert queue.purge() == 1
        assert queue.get() is None
    assert name in emulator.stats()["messages"], "another process may be its reader"


@pytest.mark.parametrize("mode", ["lasting", "transient"])
@pytest.mark.parametrize("broker", EVERYWHERE, indirect=True)
def test_a_reply_is_with_its_reader_when_its_sender_dies_right_after(
    broker: tuple[str, dict[str, Any]], mode: str
) -> None:
    url, options = broker
    with kombu.Connection(url, transport_options=options) as connection:
        got: list[str] = []
        queue = kombu.Queue("replies", exclusive=True, auto_delete=True)
        with connection.Consumer(queue, callbacks=[lambda body, _: got.append(body)], no_ack=True):
            publish_elsewhere(broker, "", "direct", "replies", "the result", mode, "die")
            wait_until(lambda: drained(connection) or got, 10, "it came")
    assert got == ["the result"]


@pytest.mark.parametrize("broker", ["cloudflare", HUB], indirect=True)
def test_a_task_for_no_queue_at_all_waits_for_one_or_fails(
    broker: tuple[str, dict[str, Any]],
) -> None:
    url, options = broker
    news = kombu.Exchange("news", type="fanout", durable=False)
    forbidding = options | {"create_missing_queues": False}
    with (
        kombu.Connection(url, transport_options=forbidding) as connection,
        pytest.raises(QueueMissing, match="typo"),
    ):
        connection.Producer().publish("a task", routing_key="typo")
    with kombu.Connection(url, transport_options=options) as connection:
        kombu.Queue("mine", news, exclusive=True)(connection.channel()).declare()  # hub and all
        connection.Producer().publish("a task", routing_key="typo")
        assert connection.channel().basic_get("typo").payload == "a task"


@pytest.mark.slow
def test_a_binding_made_elsewhere_is_seen_by_who_publishes_to_another_target(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LIST_BELIEVED_MIN", 0.2)
    exchange = kombu.Exchange("cuts", type="direct")
    # Of different options, so that they share no more than two processes would.
    with connect(emulator) as sender, connect(emulator, ack_linger=0.2) as other:
        kombu.Queue("first", exchange, routing_key="cut")(sender.channel()).declare()
        producer = sender.Producer(exchange=exchange, routing_key="cut")
        producer.publish("before")
        second = kombu.Queue("second", exchange, routing_key="cut")(other.channel())
        second.declare()

        def reached() -> bool:
            producer.publish("after")
            return emulator.stats()["messages"]["second"] > 0

        wait_until(reached, 10, "the second queue gets it, too")


def test_a_binding_is_made_again_that_another_process_has_removed(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding_table, "LIST_BELIEVED", 0.0)
    exchange = kombu.Exchange("cuts", type="direct")
    with connect(emulator) as one, connect(emulator, ack_linger=0.2) as other:
        queue = kombu.Queue("first", exchange, routing_key="cut")
        queue(one.channel()).declare()
        queue(other.channel()).unbind_from(exchange, routing_key="cut")
        assert [name for name in emulator.stats()["messages"] if DurableBinding.read(name)] == []
        queue(one.channel()).declare()
        assert [name for name in emulator.stats()["messages"] if DurableBinding.read(name)]


def test_an_unbinding_that_failed_can_be_tried_again(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding_table, "CHANGE_TIMEOUT", 0.5)
    exchange = kombu.Exchange("cuts", type="direct")
    with connect(emulator) as connection:
        queue = kombu.Queue("first", exchange, routing_key="cut")(connection.channel())
        queue.declare()
        emulator.faults({"route": "delete", "kind": "500"})
        with pytest.raises(connection.connection_errors + connection.channel_errors):
            queue.unbind_from(exchange, routing_key="cut")
        emulator.clear_faults()
        queue.unbind_from(exchange, routing_key="cut")
        assert [name for name in emulator.stats()["messages"] if DurableBinding.read(name)] == []


@pytest.mark.parametrize("broker", ["cloudflare", HUB], indirect=True)
def test_an_event_arrives_though_none_follows_it(broker: tuple[str, dict[str, Any]]) -> None:
    exchange = kombu.Exchange("celeryev", type="topic")
    url, options = broker
    # Of different options, so that they share no more than two processes would.
    reading = kombu.Connection(url, transport_options={**options, "ack_linger": 0.2})
    with kombu.Connection(url, transport_options=options) as sender, reading as listener:
        got: list[str] = []
        queue = kombu.Queue("ev", exchange, routing_key="#", auto_delete=True)
        with listener.Consumer(queue, callbacks=[lambda body, _: got.append(body)], no_ack=True):
            producer = sender.Producer(exchange=exchange)
            producer.publish("first", routing_key="task.sent", delivery_mode=1)
            wait_until(lambda: drained(listener) or got == ["first"], 10, "the first came")
            producer.publish("last", routing_key="task.sent", delivery_mode=1)
            wait_until(lambda: drained(listener) or got == ["first", "last"], 10, "the last came")
