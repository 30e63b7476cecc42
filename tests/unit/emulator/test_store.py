"""Leases, retries, dead letters, delays and retention, with a clock that the test turns."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cutmv.emulator.errors import ApiError
from cutmv.emulator.model import (
    HTTP_PULL_DEFAULTS,
    WORKER_DEFAULTS,
    AckResult,
    ConsumerSpec,
    Delivery,
    NewMessage,
    QueueSettings,
    Retry,
)
from cutmv.emulator.store import Store


@dataclass
class Clock:
    """Milliseconds since the epoch, when the test says so."""

    ms: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms

    def pass_seconds(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class Bench:
    """A store with one queue, `work`, that a test pushes to and pulls from in few words."""

    def __init__(self, dead_letter_queue: str = "", **settings: int) -> None:
        self.clock = Clock()
        self.store = Store(":memory:", self.clock)
        self.queue_id = self.store.registry.create_queue("work").queue_id
        spec = ConsumerSpec("http_pull", {**HTTP_PULL_DEFAULTS, **settings}, dead_letter_queue, "")
        self.store.registry.create_consumer(self.queue_id, spec)

    def push(self, *bodies: str, delay: int | None = None) -> None:
        messages = [NewMessage(body.encode(), "text", delay) for body in bodies]
        self.store.messages.push(self.queue_id, messages)

    def pull(self, batch_size: int = 100, visible_s: float | None = None) -> list[Delivery]:
        visibility_ms = None if visible_s is None else int(visible_s * 1000)
        return list(
            self.store.messages.pull(
                self.queue_id, batch_size=batch_size, visibility_ms=visibility_ms
            )
        )

    def bodies(self) -> list[str]:
        return [each.body.decode() for each in self.pull()]

    def ack(self, *deliveries: Delivery) -> AckResult:
        return self.store.messages.acknowledge(self.queue_id, [d.handle for d in deliveries], [])

    def retry(self, *deliveries: Delivery, delay: int | None = None) -> AckResult:
        retries = [Retry(d.handle, delay) for d in deliveries]
        return self.store.messages.acknowledge(self.queue_id, [], retries)

    def backlog(self, name: str = "work") -> int:
        return self.store.messages.backlogs()[name]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench() -> Iterator[MakeBench]:
    """Make benches; whatever was made is closed."""
    with ExitStack() as made:

        def make(dead_letter_queue: str = "", **settings: int) -> Bench:
            bench = Bench(dead_letter_queue, **settings)
            made.callback(bench.store.close)
            return bench

        yield make


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


def test_a_leased_message_comes_back_only_when_its_visibility_timeout_ends(bench: Bench) -> None:
    bench.push("a")
    [first] = bench.pull(visible_s=10)
    bench.clock.pass_seconds(9.999)
    assert bench.pull() == []
    bench.clock.pass_seconds(0.001)
    [second] = bench.pull()
    assert (second.message_id, second.attempts) == (first.message_id, 2)
    assert second.handle != first.handle


def test_a_pull_takes_batch_and_timeout_from_the_consumer_when_it_names_none(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(batch_size=2, visibility_timeout_ms=5_000)
    bench.push("a", "b", "c")
    assert len(bench.store.messages.pull(bench.queue_id)) == 2
    bench.clock.pass_seconds(5)
    assert len(bench.pull()) == 3


def test_an_ack_by_a_lease_that_ran_out_is_still_accepted(bench: Bench) -> None:
    bench.push("a")
    [first] = bench.pull(visible_s=1)
    bench.clock.pass_seconds(2)
    [second] = bench.pull(visible_s=60)
    assert bench.ack(first) == AckResult(1, 0, {}, deletes=1)
    assert bench.backlog() == 0
    assert bench.ack(second).warnings.keys() == {second.handle}


def test_a_retry_by_a_lease_that_was_given_again_changes_nothing(bench: Bench) -> None:
    bench.push("a")
    [first] = bench.pull(visible_s=1)
    bench.clock.pass_seconds(2)
    bench.pull(visible_s=60)
    done = bench.retry(first)
    assert (done.retried, done.warnings.keys()) == (0, {first.handle})
    assert bench.pull() == []


def test_an_unknown_lease_is_a_warning_and_the_others_count(bench: Bench) -> None:
    bench.push("a")
    [good] = bench.pull()
    handles = ["", "nonsense", "MTox", good.handle, good.handle]
    done = bench.store.messages.acknowledge(bench.queue_id, handles, [Retry("gone", 1)])
    assert (done.acked, done.retried) == (1, 0)
    assert done.warnings.keys() == {"", "nonsense", "MTox", good.handle, "gone"}


def test_a_lease_of_another_queue_is_unknown(bench: Bench) -> None:
    other = bench.store.registry.create_queue("other").queue_id
    bench.push("a")
    [delivery] = bench.pull()
    assert bench.store.messages.acknowledge(other, [delivery.handle], []).acked == 0
    assert bench.backlog() == 1


def test_a_retried_message_is_back_at_once_or_after_its_delay(make_bench: MakeBench) -> None:
    bench = make_bench(retry_delay=7)
    bench.push("now", "later", "default")
    now, later, default = bench.pull()
    bench.retry(now, delay=0)
    bench.retry(later, delay=3)
    bench.retry(default)
    assert bench.bodies() == ["now"]
    bench.clock.pass_seconds(3)
    assert bench.bodies() == ["later"]
    bench.clock.pass_seconds(3.999)
    assert bench.bodies() == []
    bench.clock.pass_seconds(0.001)
    assert bench.bodies() == ["default"]


def test_a_message_is_delivered_once_and_then_as_often_as_it_may_be_retried(
    make_bench: MakeBench,
) -> None:
    bench = make_bench("dead", max_retries=2)
    bench.push("poison")
    for attempt in (1, 2, 3):
        [delivery] = bench.pull()
        assert delivery.attempts == attempt
        bench.retry(delivery, delay=0)
    assert bench.pull() == []
    assert (bench.backlog(), bench.backlog("dead")) == (0, 1)


def test_a_lease_that_ran_out_counts_as_a_retry(make_bench: MakeBench) -> None:
    bench = make_bench("dead", max_retries=0)
    bench.push("poison")
    bench.pull(visible_s=5)
    assert bench.backlog("dead") == 0
    bench.clock.pass_seconds(5)
    assert (bench.backlog("dead"), bench.backlog()) == (1, 0)


def test_the_last_attempt_is_dead_at_once_whatever_its_delay(make_bench: MakeBench) -> None:
    bench = make_bench("dead", max_retries=0)
    bench.push("poison")
    bench.retry(*bench.pull(), delay=3600)
    assert bench.backlog("dead") == 1


def test_a_dead_letter_starts_anew_in_its_queue(make_bench: MakeBench) -> None:
    bench = make_bench("dead", max_retries=0)
    bench.push("poison")
    bench.clock.pass_seconds(100)
    bench.retry(*bench.pull())
    dead = bench.store.registry.queues(limit=1, offset=0, names=["dead"])[0].queue_id
    bench.store.registry.create_consumer(
        dead, ConsumerSpec("http_pull", HTTP_PULL_DEFAULTS, "", "")
    )
    [message] = bench.store.messages.pull(dead)
    assert (message.body, message.attempts, message.created_ms) == (b"poison", 1, bench.clock.ms)


def test_without_a_dead_letter_queue_what_fails_too_often_is_deleted(make_bench: MakeBench) -> None:
    bench = make_bench(max_retries=0)
    bench.push("poison")
    bench.retry(*bench.pull())
    assert bench.store.messages.backlogs() == {"work": 0}


def test_two_queues_may_be_each_others_dead_letter_queue(make_bench: MakeBench) -> None:
    bench = make_bench("dead", max_retries=0)
    dead = bench.store.registry.queues(limit=1, offset=0, names=["dead"])[0].queue_id
    bench.store.registry.create_consumer(
        dead, ConsumerSpec("http_pull", {**HTTP_PULL_DEFAULTS, "max_retries": 0}, "work", "")
    )
    bench.push("ping")
    bench.retry(*bench.pull())
    [message] = bench.store.messages.pull(dead)
    bench.store.messages.acknowledge(dead, [], [Retry(message.handle, 0)])
    assert bench.bodies() == ["ping"]


def test_a_messages_delay_wins_over_the_queues(bench: Bench) -> None:
    bench.store.registry.update_queue(bench.queue_id, "work", QueueSettings(delivery_delay=10))
    bench.push("queue's")
    bench.push("now", delay=0)
    bench.push("own", delay=20)
    assert bench.bodies() == ["now"]
    bench.clock.pass_seconds(10)
    assert bench.bodies() == ["queue's"]
    bench.clock.pass_seconds(10)
    assert bench.bodies() == ["own"]


def test_a_message_is_dropped_when_kept_longer_than_the_queue_keeps_any(bench: Bench) -> None:
    settings = QueueSettings(message_retention_period=60)
    bench.store.registry.update_queue(bench.queue_id, "work", settings)
    bench.push("old", delay=3600)
    bench.clock.pass_seconds(30)
    bench.push("new")
    bench.clock.pass_seconds(30)
    metrics = bench.store.messages.metrics(bench.queue_id)
    assert (metrics.count, metrics.bytes, metrics.oldest_ms) == (1, 3, bench.clock.ms - 30_000)


def test_a_paused_queue_delivers_nothing_until_it_goes_on(bench: Bench) -> None:
    bench.push("a")
    registry = bench.store.registry
    registry.update_queue(bench.queue_id, "work", QueueSettings(delivery_paused=True))
    assert bench.bodies() == []
    registry.update_queue(bench.queue_id, "work", QueueSettings())
    assert bench.bodies() == ["a"]


def test_pulling_needs_an_http_pull_consumer(bench: Bench) -> None:
    bare = bench.store.registry.create_queue("bare").queue_id
    with pytest.raises(ApiError, match="no http_pull consumer"):
        bench.store.messages.pull(bare)
    spec = ConsumerSpec("worker", WORKER_DEFAULTS, "", "edge")
    bench.store.registry.create_consumer(bare, spec)
    with pytest.raises(ApiError, match="no http_pull consumer"):
        bench.store.messages.pull(bare)


def test_metrics_count_leased_and_delayed_messages_too(bench: Bench) -> None:
    bench.push("waiting", "leased")
    bench.push("delayed", delay=60)
    bench.pull(batch_size=1)
    metrics = bench.store.messages.metrics(bench.queue_id)
    assert (metrics.count, metrics.bytes) == (3, len("waitingleaseddelayed"))


def test_deleting_a_queue_takes_its_messages_and_consumer_with_it(bench: Bench) -> None:
    bench.push("a")
    [delivery] = bench.pull()
    bench.store.registry.delete_queue(bench.queue_id)
    again = bench.store.registry.create_queue("work")
    assert (again.backlog_count, again.consumers) == (0, ())
    assert bench.store.messages.acknowledge(again.queue_id, [delivery.handle], []).acked == 0


def test_a_purge_deletes_leased_messages_too(bench: Bench) -> None:
    bench.push("a", "b")
    [leased] = bench.pull(batch_size=1)
    bench.store.messages.purge_queue(bench.queue_id)
    assert bench.backlog() == 0
    assert bench.ack(leased).acked == 0


def test_a_copy_is_delivered_beside_its_lease_and_after_its_ack(make_bench: MakeBench) -> None:
    bench = make_bench(max_retries=0)
    bench.push("a", "b")
    a, b = bench.pull()
    bench.store.messages.copy(bench.queue_id, [a.message_id, b.message_id])
    bench.ack(b)
    again = bench.pull()
    assert [each.message_id for each in again] == [a.message_id, b.message_id]
    assert all(each.is_copy for each in again)
    bench.ack(*again)
    assert bench.ack(a).acked == 1


def test_a_reordered_pull_reaches_beyond_the_head_of_the_queue(bench: Bench) -> None:
    bench.push(*(f"{n:02}" for n in range(50)))
    pulled = bench.store.messages.pull(bench.queue_id, batch_size=5, shuffle=random.Random(1))
    bodies = [each.body.decode() for each in pulled]
    assert len(set(bodies)) == 5
    assert bodies != sorted(bodies)
    assert max(bodies) > "10"


def test_what_was_stored_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path / "db", clock)
    queue_id = store.registry.create_queue("work", "eu").queue_id
    store.messages.push(queue_id, [NewMessage(b"a", "json", None)])
    store.close()
    again = Store(tmp_path / "db", clock)
    assert again.registry.queue(queue_id).jurisdiction == "eu"
    assert again.messages.peek(queue_id, 5)[0].body == b"a"
    again.close()


class Leases(RuleBasedStateMachine):
    """Any order of pushes, pulls, acks, retries and passing time, against a model of a few lines.

    What must hold: no message is leased twice at once, none is delivered more often than it may
    be, and each is in exactly one place: acked, in its queue, or among the dead letters.
    """

    max_retries = 2

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench("dead", max_retries=self.max_retries)
        self.pushed = 0
        self.acked: set[str] = set()
        self.deliveries: Counter[str] = Counter()
        #: By message: the newest lease, and when it runs out.
        self.leases: dict[str, tuple[Delivery, int]] = {}

    @rule(count=st.integers(1, 5), delay=st.sampled_from([None, 0, 5]))
    def push(self, count: int, delay: int | None) -> None:
        self.bench.push(*(str(self.pushed + n) for n in range(count)), delay=delay)
        self.pushed += count

    @rule(batch_size=st.integers(1, 6), visible_s=st.sampled_from([0, 1, 10]))
    def pull(self, batch_size: int, visible_s: int) -> None:
        now = self.bench.clock.ms
        for delivery in self.bench.pull(batch_size, visible_s):
            body = delivery.body.decode()
            assert body not in self.acked
            assert self.leases.get(body, (delivery, 0))[1] <= now
            self.deliveries[body] += 1
            assert delivery.attempts == self.deliveries[body] <= self.max_retries + 1
            self.leases[body] = (delivery, now + visible_s * 1000)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        body = data.draw(st.sampled_from(sorted(self.leases)))
        delivery, runs_out_ms = self.leases.pop(body)
        spent = delivery.attempts > self.max_retries and runs_out_ms <= self.bench.clock.ms
        assert self.bench.ack(delivery).acked == (0 if spent else 1)
        if not spent:
            self.acked.add(body)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=st.sampled_from([None, 0, 5]))
    def retry(self, data: st.DataObject, delay: int | None) -> None:
        body = data.draw(st.sampled_from(sorted(self.leases)))
        delivery, runs_out_ms = self.leases.pop(body)
        spent = delivery.attempts > self.max_retries and runs_out_ms <= self.bench.clock.ms
        assert self.bench.retry(delivery, delay=delay).retried == (0 if spent else 1)

    @rule(seconds=st.sampled_from([0.5, 1, 5, 20]))
    def wait(self, seconds: float) -> None:
        self.bench.clock.pass_seconds(seconds)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        backlogs = self.bench.store.messages.backlogs()
        assert backlogs["work"] + backlogs["dead"] + len(self.acked) == self.pushed
        dead = [body for body, times in self.deliveries.items() if times > self.max_retries]
        assert backlogs["dead"] <= len(dead)

    def teardown(self) -> None:
        self.bench.store.close()


TestLeases = Leases.TestCase
TestLeases.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_settings_of_a_queue_are_kept(bench: Bench) -> None:
    settings = replace(QueueSettings(), delivery_delay=1, delivery_paused=True)
    assert bench.store.registry.update_queue(bench.queue_id, "new", settings).settings == settings
    assert bench.store.registry.queue(bench.queue_id).queue_name == "new"


def test_a_copy_is_never_copied_itself(bench: Bench) -> None:
    bench.push("a")
    [a] = bench.pull()
    for _ in range(2):
        bench.store.messages.copy(bench.queue_id, [a.message_id])
    assert bench.backlog() == 3
