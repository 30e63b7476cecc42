"""Errors that nobody expected, in the threads of the transport: nothing stops in silence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import kombu
import pytest
import uvicorn
from kombu.exceptions import OperationalError

from cutmv.transports.cloudflare import runtime, troubles
from cutmv.transports.cloudflare import session as sessions
from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.consumer import intake
from cutmv.transports.cloudflare.consumer.qos import QoS
from cutmv.transports.cloudflare.edge import HubClient, hub_client
from cutmv.transports.cloudflare.edge.hub_client import TAKE_OVER_AFTER
from cutmv.transports.cloudflare.errors import ThreadBroken
from cutmv.transports.cloudflare.fanout import Broadcaster
from cutmv.transports.cloudflare.fanout.binding_poller import BindingPoller
from cutmv.transports.cloudflare.fanout.events import EventSender
from cutmv.transports.cloudflare.leases import Delivery, ack_batcher
from cutmv.transports.cloudflare.messages import BroadcastMessage, envelope
from tests.integration.transport.test_push import KEYS, Push
from tests.support.emulator import EmulatorProcess
from tests.support.processes import free_port
from tests.support.queues import client, queue_id
from tests.support.transport import CloudflareSite, connect, make_site, wait_until

#: Seconds of a lease that no test waits for.
LONG = 3600


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "_troubles", troubles._Troubles())
    monkeypatch.setattr(runtime, "TROUBLE_PAUSE_MAX", 0.05)
    monkeypatch.setattr(intake, "UNEXPECTED_RETRY_DELAY", 1.0)


@pytest.fixture
def site(emulator: EmulatorProcess, tmp_path: Path) -> Iterator[CloudflareSite]:
    with make_site(emulator, tmp_path) as site:
        yield site


def put(connection: kombu.Connection, *bodies: Any) -> None:
    for body in bodies:
        connection.Producer().publish(body, routing_key="work", declare=[kombu.Queue("work")])


class Taker:
    """A plain consumer of the queue `work`, which reconnects as one should."""

    def __init__(self, connection: kombu.Connection) -> None:
        self.connection, self.taken, self.reconnects = connection, list[Any](), 0

    def take(self, body: Any, message: kombu.Message) -> None:
        self.taken.append(body)
        message.ack()

    def run(self, until: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not until():
            try:
                with self.connection.Consumer([kombu.Queue("work")], callbacks=[self.take]):
                    while not until():
                        assert time.monotonic() < end, self.taken
                        try:
                            self.connection.drain_events(timeout=0.1)
                        except TimeoutError:
                            continue
            except self.connection.recoverable_connection_errors as error:
                assert isinstance(error, ThreadBroken), error
                self.reconnects += 1
                self.connection.close()


def failing(times: int, act: Callable[..., Any]) -> Callable[..., Any]:
    """`act`, which first fails so often with what nobody expects."""
    left = iter(range(times))

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(left, None) is not None:
            raise AttributeError("nobody expects it")
        return act(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize(
    ("times", "reconnects"), [(2, 0), (runtime.HOPELESS_AFTER + 1, 1)], ids=["goes on", "hopeless"]
)
def test_a_poller_that_meets_errors_goes_on_or_the_connection_ends(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, times: int, reconnects: int
) -> None:
    monkeypatch.setattr(Client, "pull", failing(times, Client.pull))
    with connect(emulator, visibility_timeout=LONG) as connection:
        put(connection, *range(20))
        taker = Taker(connection)
        taker.run(lambda: len(taker.taken) >= 20)
    assert sorted(taker.taken) == list(range(20))
    assert taker.reconnects == reconnects
    assert runtime.threads_report()["errors"] == times
    stats = emulator.stats()
    assert (stats["acked"], stats["leases_outstanding"]) == (20, 0)


@pytest.mark.parametrize("where", ["_read", "_postpone"])
def test_an_error_about_one_message_holds_up_no_other(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It comes again with a delay, and runs when the error is gone."""
    met: list[float] = []
    act = getattr(intake.Intake, where)

    def fail_once(self: Any, delivery: Delivery, *args: Any) -> Any:
        if json.loads(envelope.decode(delivery.entry)["body"]) == 7 and not met:
            met.append(time.monotonic())
            raise AttributeError("nobody expects it")
        return act(self, delivery, *args)

    monkeypatch.setattr(intake.Intake, where, fail_once)
    with connect(emulator, visibility_timeout=LONG) as connection:
        put(connection, *range(10))
        taker = Taker(connection)
        taker.run(lambda: len(taker.taken) >= 9)
        assert 7 not in taker.taken
        taker.run(lambda: len(taker.taken) >= 10)
        assert time.monotonic() - met[0] >= 0.9
    assert sorted(taker.taken) == list(range(10))
    assert "intake of work" in runtime.threads_report()["troubled"]
    assert emulator.stats()["retried"] == 1


def test_an_error_about_a_whole_pull_leaves_no_message_behind_its_lease(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake.Intake, "_complete", failing(1, intake.Intake._complete))
    with connect(emulator, visibility_timeout=LONG) as connection:
        put(connection, *range(10))
        taker = Taker(connection)
        taker.run(lambda: len(taker.taken) >= 10)
    assert sorted(taker.taken) == list(range(10))
    stats = emulator.stats()
    assert (stats["acked"], stats["leases_outstanding"]) == (10, 0)


def test_when_no_ack_can_be_sent_the_connection_ends_and_a_new_one_has_new_threads(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = ack_batcher._Lane.take
    broken: list[Any] = []

    def break_the_first(self: Any) -> Any:
        if not broken:
            broken.append(self)
        if broken == [self]:
            raise AttributeError("nobody expects it")
        return take(self)

    monkeypatch.setattr(ack_batcher._Lane, "take", break_the_first)
    with connect(emulator, visibility_timeout=LONG, close_timeout=0.2) as connection:
        put(connection, 1)
        taker = Taker(connection)
        first = sessions.acquire(*session_of(connection))
        taker.run(lambda: bool(taker.reconnects))
        broken.append(0)  # the first one's thread, which was never ended, can send again
        put(connection, 2)
        taker.run(lambda: 2 in taker.taken)
        second = sessions.acquire(*session_of(connection))
        assert (first.broken, second.broken, first is second) == (True, False, False)
        sessions.release(second)
        wait_until(lambda: emulator.stats()["acked"] == 2, what="both are acked")
    sessions.release(first)
    assert taker.taken == [1, 2]
    assert not {first, second} & {*sessions._users}  # other tests may have left theirs


def session_of(connection: kombu.Connection) -> tuple[Any, Any]:
    transport = connection.transport
    return transport.session.credentials, transport.options


def nobody_expects_it(*_: Any, **__: Any) -> Any:
    raise AttributeError("nobody expects it")


#: A queue that others reach by a binding queue.
NEWS = kombu.Queue("news", kombu.Exchange("all", type="fanout"), auto_delete=True)


@pytest.mark.parametrize(
    ("owner", "method", "thread"),
    [
        (Broadcaster, "deliver", "broadcaster"),
        (EventSender, "run", "broadcaster"),
        (BindingPoller, "pull", "binding-news"),
        (Credentials, "newest_token", "poller-work"),
    ],
    ids=["broadcaster", "events", "binding poller", "token's file"],
)
def test_a_thread_that_can_not_go_on_ends_the_connection(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, thread: str
) -> None:
    with connect(emulator, visibility_timeout=LONG) as connection:
        session = connection.transport.session
        queue = NEWS if owner is BindingPoller else kombu.Queue("work")
        with connection.Consumer(queue, callbacks=[lambda *_: None]):
            monkeypatch.setattr(owner, method, nobody_expects_it)
            if method == "deliver":
                for number in range(runtime.HOPELESS_AFTER):
                    session.broadcaster.send(BroadcastMessage("all", "fanout", "", str(number)))
            elif method == "run":
                session.broadcaster.send(BroadcastMessage("all", "topic", "task", "{}"))
            elif method == "newest_token":
                emulator.faults({"route": "pull", "kind": "refused", "status": 401})
            ends(connection, f"cloudflare-{thread}")


def ends(connection: kombu.Connection, thread: str) -> None:
    """Take messages until the connection ends because of a thread; another is as good as new."""
    session = connection.transport.session
    with pytest.raises(ThreadBroken, match="nobody expects it"):
        connection.drain_events(timeout=10)
    assert runtime.threads_report()["troubled"][thread]["errors"] >= runtime.HOPELESS_AFTER
    connection.close()
    assert connection.transport.session is not session
    assert not connection.transport.session.broken


def test_a_hub_client_that_meets_errors_ends_the_connection_and_queues_stand_in(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "connector", lambda: (lambda *_: nullcontext(), (OSError,)))
    monkeypatch.setattr(HubClient, "_serve", nobody_expects_it)
    edge = {"edge_url": "http://127.0.0.1:1", "edge_keys": KEYS, "lease_ledger": "none"}
    connection = connect(emulator, visibility_timeout=LONG, **edge)
    with connection, connection.Consumer(NEWS, callbacks=[lambda *_: None]):
        away = threading.Event()
        connection.transport.session.hub.on_away = away.set
        assert away.wait(TAKE_OVER_AFTER + 4)
        ends(connection, "cloudflare-hub")


def test_a_push_server_that_meets_errors_leaves_its_address_to_the_next_one(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = uvicorn.Server.run
    push = {"consume": "push", "edge_keys": KEYS, "ingress_port": free_port()}
    push_only(emulator, "work")
    with connect(emulator, **push) as other, connect(emulator, **push) as connection:
        other.connect()  # which goes on with the session that breaks, as a publisher's would
        monkeypatch.setattr(uvicorn.Server, "run", nobody_expects_it)
        with connection.Consumer(kombu.Queue("work"), callbacks=[lambda *_: None]):
            ends(connection, "cloudflare-push-server")
        monkeypatch.setattr(uvicorn.Server, "run", run)
        wait_until(lambda: served(connection, push), 10, "the next one has the address")


def test_acks_that_fail_leave_the_push_server_s_address_to_the_next_one(
    emulator: EmulatorProcess,
) -> None:
    """The broken session lives on in a publisher's connection."""
    push = {"consume": "push", "edge_keys": KEYS, "ingress_port": free_port()}
    push_only(emulator, "work")
    with connect(emulator, **push) as other, connect(emulator, **push) as connection:
        other.connect()
        with connection.Consumer(kombu.Queue("work"), callbacks=[lambda *_: None]):
            session = connection.transport.session
            session._break("nobody expects it")
            with pytest.raises(ThreadBroken):
                connection.drain_events(timeout=10)
        connection.close()
        wait_until(lambda: served(connection, push), 10, "the next one has the address")


def served(connection: kombu.Connection, push: dict[str, Any]) -> bool:
    """Whether a consumer's push server answers."""
    with suppress(OperationalError), connection.Consumer(kombu.Queue("work"), callbacks=[print]):
        return httpx.get(f"http://127.0.0.1:{push['ingress_port']}/healthz").is_success
    return False


def test_a_push_consumer_that_meets_errors_ends_the_connection(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = {"consume": "push", "edge_keys": KEYS, "ingress_port": free_port()}
    push_only(emulator, "work")
    with connect(emulator, **push) as connection:
        monkeypatch.setattr(QoS, "reserve", nobody_expects_it)
        with connection.Consumer(kombu.Queue("work"), callbacks=[lambda *_: None]):
            waiting = Push(push["ingress_port"], "x")
            ends(connection, "cloudflare-push-work")
            assert waiting.outcome() == {"outcome": "wait"}


def push_only(emulator: EmulatorProcess, name: str) -> None:
    """Make a queue that a Worker consumes."""
    api = client(emulator)
    api.create_queue(name, 1e12)
    consumer = {"type": "worker", "script_name": "cutmv-processor", "settings": {}}
    api.create_consumer(queue_id(emulator, name), consumer, 1e12)


def test_a_ledger_s_directory_may_have_dots_in_its_path(
    site: CloudflareSite, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    options = {
        "visibility_timeout": 2,
        "lease_ledger": f"file://{tmp_path}/a/../ledger",
    }
    worker = site.ready(site.worker(**options))
    site.send("hold", "x", str(tmp_path / "go"))
    wait_until(lambda: site.emulator.stats()["redeliveries"] >= 1, what="it was delivered again")
    site.send("record", "after")
    wait_until(lambda: site.notes("record"), what="the worker goes on")
    (tmp_path / "go").touch()
    wait_until(lambda: site.emulator.stats()["acked"] >= 2, what="both are acked")

    assert len(site.notes("started")) == 1
    assert "Traceback" not in worker.log()
