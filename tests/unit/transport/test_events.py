"""How events are shared out: the pace, heartbeats, commands, and the sender of events."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.api.rate_limit import RateLimiter
from cutmv.transports.cloudflare.errors import Refused, ServerFault
from cutmv.transports.cloudflare.fanout import bundle, heartbeats
from cutmv.transports.cloudflare.fanout import events as events_module
from cutmv.transports.cloudflare.fanout.commands import HELLO_MOST, Commands
from cutmv.transports.cloudflare.fanout.events import EventSender
from cutmv.transports.cloudflare.fanout.pace import Pace
from cutmv.transports.cloudflare.messages import BroadcastMessage, limits
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.queues import Binding, TemporaryBinding


class Clock:
    """The time of a test; `monotonic` is how the modules read it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Directory:
    """Knows so many workers, and no queue besides."""

    def __init__(self, workers: int, queues: int = 10) -> None:
        self.age = 0.0
        self.all = [None] * queues
        self.workers = workers

    def temporary_bindings(self, _exchange: str) -> dict[int, str]:
        return dict.fromkeys(range(self.workers), "id")


class Nobody:
    """No temporary queues of one's own."""

    names: frozenset[TemporaryBinding] = frozenset()

    def bound_to(self, _suffix: str) -> None:
        return None


class Remote:
    """The binding queues of other processes, and what was published to each."""

    def __init__(self, clock: Clock, *subscribers: str) -> None:
        self.clock = clock
        self.known = {subscriber(name): name for name in subscribers}
        self.came: dict[str, list[tuple[float, dict[str, Any]]]] = {n: [] for n in subscribers}
        self.fails: dict[str, Exception] = {}

    def targets(self, message: BroadcastMessage) -> dict[TemporaryBinding, str]:
        return {b: i for b, i in self.known.items() if b.takes(message.routing_key)}

    def queue_id(self, binding: TemporaryBinding) -> str | None:
        return self.known.get(binding)

    def publish(
        self, _binding: TemporaryBinding, queue_id: str, texts: list[str], _deadline: float,
        *, paid: bool
    ) -> None:  # fmt: skip
        assert paid
        if queue_id in self.fails:
            raise self.fails[queue_id]
        (text,) = texts
        for each in bundle.unpack({"body": text}):
            told = json.loads(json.loads(each["body"])["body"])
            self.came[queue_id].append((self.clock.now, told))

    @property
    def got(self) -> dict[str, list[dict[str, Any]]]:
        """What came, without the times."""
        return {name: [each for _, each in came] for name, came in self.came.items()}


def subscriber(name: str) -> TemporaryBinding:
    key = "worker.#" if name.startswith("gossip") else "#"
    return TemporaryBinding.of("", Binding("celeryev", "topic", key, name))


class Services:
    """What the sender takes from others."""

    def __init__(self, limiter: RateLimiter, directory: Directory) -> None:
        self.client = self.claim_checks = self
        self.rate_limiter, self.directory = limiter, directory

    def fit(self, text: str) -> str:
        return text


def event(key: str, at: float, **fields: Any) -> BroadcastMessage:
    body = json.dumps({"type": key.replace(".", "-"), "hostname": "w", **fields})
    text = json.dumps({"body": body, "properties": {}, "headers": {}})
    return BroadcastMessage("celeryev", "topic", key, text, at)


def pace(limiter: RateLimiter, workers: int, **options: Any) -> Pace:
    nobody: Any = Nobody()
    directory: Any = Directory(workers)
    return Pace(limiter, directory, nobody, Options(**options))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(events_module, "time", clock)
    return clock


class Run:
    """A sender on a clock: two-second heartbeats, and what else a test adds."""

    def __init__(self, clock: Clock, remote: Remote, workers: int, used: int = 0) -> None:
        self.clock, self.remote = clock, remote
        self.limiter = RateLimiter(1080, 300, 120, clock.monotonic)
        for _ in range(used):
            self.limiter.try_take(1)
        services: Any = Services(self.limiter, Directory(workers))
        there: Any = remote
        self.pace = pace(self.limiter, workers)
        self.sender = EventSender(services, there, None, self.pace)

    def go(self, seconds: float, task_each: float = 0.0) -> None:
        """Let time pass from one thing that is due to the next."""
        end, beat_at, task_at = self.clock.now + seconds, self.clock.now, self.clock.now
        while True:
            now = self.clock.now
            if now >= beat_at:
                self.sender.add(event("worker.heartbeat", now, freq=2.0))
                beat_at += 2
            if task_each and now >= task_at:
                self.sender.add(event("task.started", now, uuid=str(task_at)))
                task_at += task_each
            if self.sender.due <= now:
                self.sender.run()
            next_at = min(beat_at, task_at if task_each else end, max(self.sender.due, now + 0.01))
            if next_at >= end:
                self.clock.now = end
                return
            self.clock.now = next_at


@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize("subscribers", [1, 3])
def test_idle_workers_together_use_a_tenth_of_the_account_for_heartbeats(
    clock: Clock, workers: int, subscribers: int
) -> None:
    remote = Remote(clock, *[f"flower-{number}" for number in range(subscribers)])
    run = Run(clock, remote, workers)
    run.go(60)
    before = run.limiter.used
    run.go(300)
    assert run.limiter.used * workers <= 0.1 * 1080 * 1.1 or workers * subscribers == 1
    assert run.limiter.used * workers <= 0.15 * 1080
    assert run.limiter.used >= before * 0.5, "they go on"


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_heartbeat_comes_before_the_last_one_has_expired(clock: Clock, workers: int) -> None:
    remote = Remote(clock, "flower", *[f"gossip-{number}" for number in range(workers - 1)])
    run = Run(clock, remote, workers)
    run.go(60 + 4 * run.sender.interval)
    run.go(60 + 4 * run.sender.interval)

    came = [(at, told["freq"]) for at, told in remote.came["flower"]]
    assert len(came) > 3
    for (at, freq), (then, _) in itertools.pairwise(came):
        assert then - at <= 2 * freq - 1.5, "pulled as late as it may be, it would be too late"


def test_heartbeats_that_become_rarer_say_so_before(clock: Clock) -> None:
    """Others use up half of the account's calls: events get less, and are never silent."""
    remote = Remote(clock, "flower")
    run = Run(clock, remote, workers=4)
    run.go(60)
    freq = remote.got["flower"][-1]["freq"]
    run.limiter.learn({"ratelimit": '"default";r=500;t=3000'})
    alive_until = clock.now + 2 * freq
    seen = len(remote.got["flower"])
    while len(remote.came["flower"]) == seen:
        run.go(0.5)
    assert clock.now < alive_until
    assert remote.got["flower"][-1]["freq"] >= 3 * freq


def test_each_event_comes_once_and_in_order_though_calls_fail(clock: Clock) -> None:
    remote = Remote(clock, "flower", "other")
    run = Run(clock, remote, workers=2)
    run.go(10, task_each=1.0)
    remote.fails["other"] = ServerFault("500", status=500)
    run.go(10, task_each=1.0)
    remote.fails.clear()
    run.go(60, task_each=1.0)
    run.sender.run(closing=True)

    told = {name: [e["uuid"] for e in got if "uuid" in e] for name, got in remote.got.items()}
    assert told["flower"] == told["other"]
    assert told["flower"] == sorted(set(told["flower"]), key=float)
    assert len(told["flower"]) == 80
    assert run.sender.dropped == 0


def test_a_busy_worker_s_events_are_late_and_not_lost(clock: Clock) -> None:
    """Of four workers, each a hundred events a second: they share their calls."""
    remote = Remote(clock, "flower")
    run = Run(clock, remote, workers=4)
    run.go(180, task_each=0.05)  # what was saved is spent
    used, begun = run.limiter.used, clock.now
    run.go(60, task_each=0.01)
    assert (run.limiter.used - used) * 4 <= 0.3 * 1080 / 5 * 1.1
    run.go(10)
    told = [each["uuid"] for each in remote.got["flower"] if "uuid" in each]
    assert len(told) >= 3_600 + 6_000
    assert told == sorted(set(told), key=float)
    late = [at - float(e["uuid"]) for at, e in remote.came["flower"] if "uuid" in e and at > begun]
    assert max(late) < 4 * 1.4 + 0.5
    assert run.sender.dropped == 0


def test_a_subscriber_that_refuses_holds_up_no_other(clock: Clock) -> None:
    remote = Remote(clock, "flower", "other")
    remote.fails["other"] = Refused("it is no queue", status=400)
    run = Run(clock, remote, workers=1)
    run.go(30, task_each=1.0)

    assert len([e for e in remote.got["flower"] if "uuid" in e]) >= 25
    assert run.sender.dropped > 0


def test_refused_calls_are_not_used_up_and_the_events_wait(clock: Clock) -> None:
    remote = Remote(clock, "flower", "other")
    run = Run(clock, remote, workers=1)
    run.limiter.close_for(30)
    used = run.limiter.used
    run.go(29, task_each=1.0)
    assert run.limiter.used == used
    assert remote.got == {"flower": [], "other": []}
    run.go(20)
    assert [len([e for e in got if "uuid" in e]) for got in remote.got.values()] == [29, 29]


def test_a_worker_that_stopped_is_heard_of_no_more(clock: Clock) -> None:
    remote = Remote(clock, "flower")
    run = Run(clock, remote, workers=1)
    run.go(10)
    run.sender.add(event("worker.offline", clock.now, freq=2.0))
    for _ in range(600):
        clock.now += 0.1
        if run.sender.due <= clock.now:
            run.sender.run()

    kinds = [e["type"] for e in remote.got["flower"]]
    assert kinds[-1] == "worker-offline"
    assert run.sender.due == float("inf")


def test_a_subscriber_that_is_gone_costs_nothing_any_more(clock: Clock) -> None:
    remote = Remote(clock, "flower", "other")
    run = Run(clock, remote, workers=1)
    run.go(30)
    del remote.known[subscriber("other")]
    before = len(remote.got["other"])
    run.go(30)
    assert len(remote.got["other"]) == before
    assert run.sender.stats()["subscribers"] == 1


def test_looking_for_new_bindings_takes_a_twentieth_of_the_account(clock: Clock) -> None:
    limiter = RateLimiter(1080, 300, 120, clock.monotonic)
    for workers in (1, 4, 16, 100):
        calls = workers * 300 / pace(limiter, workers).list_interval
        assert calls <= 0.05 * 1080 + 1, workers


def test_without_a_limit_events_have_no_pace(clock: Clock) -> None:
    free = pace(RateLimiter(0, 300, 0, clock.monotonic), 16, rate_limit=0)
    assert free.spacing == 0
    assert free.heartbeat_interval(3) == 0
    assert free.list_interval == 30


@pytest.mark.parametrize("body", ["x", "[]", '{"type": "worker-heartbeat"}', "[" * 100_000])
def test_an_event_that_can_not_be_read_stays_as_it_is(body: str) -> None:
    text = json.dumps({"body": body})
    assert heartbeats.with_interval(text, 9) == text
    assert heartbeats.hostname(BroadcastMessage("e", "topic", "worker.heartbeat", text)) is None


def test_a_worker_that_beats_more_rarely_by_itself_is_believed() -> None:
    text = event("worker.heartbeat", 0.0, freq=60.0).text
    assert heartbeats.with_interval(text, 9) == text


def command(method: str, **bindings: str) -> BroadcastMessage:
    body = json.dumps({"method": method, "arguments": {}})
    properties = {"cloudflare_bindings": bindings}
    return BroadcastMessage(
        "celery.pidbox", "fanout", "", json.dumps({"body": body, "properties": properties})
    )


def control_queues(count: int) -> dict[TemporaryBinding, str]:
    names = [f"w{number}" for number in range(count)]
    return {TemporaryBinding.of("", Binding("c", "fanout", "", name)): name for name in names}


def test_flowers_request_for_events_is_sent_to_new_mailboxes_only() -> None:
    commands, ask = Commands(), command("enable_events")
    for queue_id in commands.recipients(ask, control_queues(3), 30).values():
        commands.said(ask, queue_id)

    assert commands.recipients(ask, control_queues(3), 30) == {}
    assert list(commands.recipients(ask, control_queues(4), 30).values()) == ["w3"]
    assert len(commands.recipients(ask, control_queues(3), 0)) == 3
    # One that did not get it is asked again, and so are all for a new receiver of events.
    assert len(commands.recipients(command("heartbeat", new="id"), control_queues(3), 30)) == 3


@pytest.mark.parametrize("method", ["pool_grow", "shutdown", "ping", "add_consumer"])
def test_other_commands_go_to_all_each_time(method: str) -> None:
    commands, each = Commands(), command(method)
    for _ in range(2):
        assert len(commands.recipients(each, control_queues(9), 30)) == 9
        commands.said(each, "w0")


def test_a_worker_that_starts_asks_a_few() -> None:
    assert len(Commands().recipients(command("hello"), control_queues(16), 30)) == HELLO_MOST
    assert len(Commands().recipients(command("hello"), control_queues(2), 30)) == 2


@given(st.lists(st.text(max_size=2_000), min_size=1, max_size=50))
def test_what_is_packed_is_unpacked(texts: list[str]) -> None:
    found: list[str] = []
    while len(found) < len(texts):
        packed, count = bundle.pack(texts[len(found) :])
        assert limits.size(packed) <= limits.MAX_MESSAGE
        got = bundle.unpack({"body": packed, "id": "x"})
        assert len(got) == count
        assert all(entry["id"] == "x" for entry in got)
        found += [entry["body"] for entry in got]
    assert found == texts


def test_messages_that_do_not_pack_well_go_in_several() -> None:
    randomness = random.Random(1)
    texts = ["".join(randomness.choices("abcdefghij", k=1000)) for _ in range(900)]
    packed, count = bundle.pack(texts)
    assert 100 < count < 900
    assert limits.size(packed) <= limits.MAX_MESSAGE


def test_one_that_alone_is_too_large_is_packed_with_no_other() -> None:
    large = "x" * 200_000
    assert bundle.pack([large, "a"]) == (large, 1)
    assert bundle.pack(["a", "b", large])[1] == 2


@pytest.mark.parametrize(
    "body",
    ['{"bundle": 1}', '{"bundle": "!"}', '{"bundle": "aGk="}', '{"bundle": "eJwDAAAAAAE="}'],
)
def test_a_malformed_bundle_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match="malformed bundle"):
        bundle.unpack({"body": body})


def test_a_bundle_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, _ = bundle.pack(["x" * 1000] * 100)
    monkeypatch.setattr(bundle, "MAX_READ", 10_000)
    with pytest.raises(ValueError, match="malformed bundle"):
        bundle.unpack({"body": packed})
