"""Canvases are published by calls of up to 100 messages, without a word from the user."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group, signals
from celery.app.trace import trace_task
from celery.exceptions import Ignore, Retry, TimeoutError
from celery.result import ResultSet

from cutmv.transports.cloudflare import publish_batch
from cutmv.transports.cloudflare.errors import BatchFailed, MessageTooLarge, PublishFailed
from cutmv.transports.cloudflare.producer import batch
from tests.support.emulator import EmulatorProcess
from tests.support.fork_server import run_python
from tests.support.processes import slowness
from tests.support.queues import batch_calls, take_ids
from tests.support.redis import RedisServer
from tests.support.transport import connect, make_site, noise, transport_threads, wait_until


def _app(emulator: EmulatorProcess, **options: Any) -> Celery:
    app = Celery(
        "canvas",
        broker=f"cloudflare://:{emulator.api_token}@{emulator.account_id}",
        backend="cache+memory://",
        set_as_current=False,
    )
    app.conf.update(
        task_default_queue="work",
        broker_transport_options={
            "api_base_url": emulator.base_url,
            "publish_timeout": 0.5,
            **options,
        },
    )

    @app.task(name="task", shared=False)
    def task(*args: Any) -> None:
        """Do nothing."""

    return app


@pytest.fixture
def app(emulator: EmulatorProcess) -> Iterator[Celery]:
    app = _app(emulator)
    yield app
    app.close()


@pytest.fixture
def task(app: Celery) -> Any:
    return app.tasks["task"]


def _run(task: Any, **request: Any) -> None:
    """Run a task as a worker does, with the callbacks of its message."""
    name = str(uuid4())
    request = {"id": name, "delivery_info": {}, "ignore_result": True, **request}
    assert trace_task(task, name, (), {}, request, app=task.app).retval is None


def _group(task: Any, count: int) -> Any:
    return group(task.si(number) for number in range(count))


#: What publishes a canvas, its messages, and its calls.
CANVASES: dict[str, tuple[Callable[[Any], object], int, int]] = {
    "group": (lambda task: _group(task, 250).apply_async(), 250, 3),
    "group by a call": (lambda task: _group(task, 100)(), 100, 1),
    "chord": (lambda task: chord(_group(task, 1000), task.si()).apply_async(), 1000, 10),
    "group | task": (lambda task: (_group(task, 150) | task.si()).delay(), 150, 2),
    "chain that begins with a group": (
        lambda task: chain(_group(task, 50), task.si(), _group(task, 9)).apply_async(), 50, 1,
    ),
    "chunks": (lambda task: task.chunks(((n,) for n in range(600)), 3).apply_async(), 200, 2),
    "chunks by a call": (lambda task: task.chunks([(n,) for n in range(60)], 3)(), 20, 1),
    "group of groups": (
        lambda task: group(_group(task, 30) for _ in range(8)).apply_async(), 240, 3,
    ),
    "group of chords": (
        lambda task: group(chord(_group(task, 5), task.si()) for _ in range(30)).apply_async(),
        150, 2,
    ),
    "group of chains": (
        lambda task: group(chain(task.si(), task.si()) for _ in range(120)).apply_async(), 120, 2,
    ),
    "chord of groups and chords": (
        lambda task: chord(
            [_group(task, 40), chord(_group(task, 40), task.si()), task.si()], task.si()
        ).apply_async(),
        81, 1,
    ),
    "starmap": (lambda task: task.starmap([(n,) for n in range(300)]).apply_async(), 1, 1),
    "callbacks": (
        lambda task: _run(task, callbacks=[dict(task.si(n)) for n in range(150)]), 150, 2,
    ),
    "a callback that is a group": (
        lambda task: _run(task, callbacks=[json.loads(json.dumps(_group(task, 120)))]), 120, 2,
    ),
    "a group as the next step of a chain": (
        lambda task: _run(task, chain=[json.loads(json.dumps(_group(task, 120)))]), 120, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("canvas", CANVASES)
def test_a_canvas_goes_by_calls_of_a_hundred(
    emulator: EmulatorProcess, app: Celery, task: Any, canvas: str
) -> None:
    app.set_current()
    publish, messages, calls = CANVASES[canvas]
    publish(task)

    assert emulator.stats()["published"] == messages
    assert batch_calls(emulator) == calls


def test_the_results_are_in_the_members_order(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    ids = [f"id-{number}" for number in range(230)]
    with app.producer_pool.acquire() as producer:
        result = group(task.s(each).set(task_id=each) for each in ids).apply_async(
            producer=producer
        )

    assert [each.id for each in result] == ids
    assert sorted(take_ids(emulator)) == sorted(ids)


@pytest.mark.parametrize("accepted", [0, 1, 2])
def test_a_canvas_that_can_t_be_sent_whole_names_every_member_that_was_not(
    emulator: EmulatorProcess, app: Celery, task: Any, accepted: int
) -> None:
    ids = [f"id-{number}" for number in range(350)]

    def members() -> Iterator[Any]:
        for number, task_id in enumerate(ids):
            if number == accepted * 100 + 50:  # Celery is a few members behind
                emulator.faults({"route": "batch", "kind": "500"})
            yield task.s(number).set(task_id=task_id)

    task.delay("the queue is there")
    with pytest.raises(BatchFailed) as caught:
        group(members()).apply_async()
    emulator.clear_faults()

    assert isinstance(caught.value, PublishFailed)
    assert caught.value.unsent == tuple(ids[accepted * 100 :])
    assert set(take_ids(emulator)) & set(ids) == set(ids[: accepted * 100])
    assert "HTTP 500" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_canvas_one_of_whose_calls_failed_sends_nothing_more(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    task.delay()
    emulator.faults({"route": "batch", "kind": "refused", "status": 400, "count": 1})
    with pytest.raises(BatchFailed) as caught:
        _group(task, 250).apply_async()

    assert len(caught.value.unsent) == 250
    assert emulator.stats()["published"] == 1, "the one before"


def test_a_member_that_can_t_be_published_gives_up_the_members_that_wait(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    members = [task.s(n).set(task_id=f"id-{n}") for n in range(103)]
    with pytest.raises(MessageTooLarge) as caught:
        group([*members, task.s(noise(200_000))]).apply_async()

    assert caught.value.__notes__ == ["3 message(s) were not sent: id-100, id-101, id-102"]
    assert emulator.stats()["published"] == 100


def test_a_canvas_in_a_block_waits_for_the_block_s_end(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        _group(task, 30).apply_async()
        _group(task, 30).apply_async()
        assert emulator.stats()["published"] == 0

    assert batch_calls(emulator) == 1


def test_a_generator_of_members_publishes_at_once_what_it_publishes_itself(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    """It may wait for the result."""
    published = []

    def members() -> Iterator[Any]:
        for number in range(5):
            yield task.si(number)
        task.delay("other")
        published.append(emulator.stats()["published"])
        group(task.si(number) for number in range(3)).apply_async()
        published.append(emulator.stats()["published"])
        yield task.si()

    group(task.si(), group(members())).apply_async()

    assert published == [1, 4]
    assert emulator.stats()["published"] == 4 + 7
    assert batch_calls(emulator) == 3


def test_what_a_slow_generator_has_given_is_sent_meanwhile(
    emulator: EmulatorProcess, app: Celery, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = []

    def members() -> Iterator[Any]:
        for number in range(40):
            if number == 30:
                monkeypatch.setattr(batch, "LINGER", 0.0)
            if number == 32:
                published.append(emulator.stats()["published"])
            yield task.si(number)

    group(members()).apply_async()

    assert published[0] >= 28, "Celery is two members ahead"
    assert emulator.stats()["published"] == 40


@pytest.mark.parametrize("wait", ["get", "poll"])
def test_a_generator_may_wait_for_the_results_of_members_that_it_has_given(
    emulator: EmulatorProcess,
    app: Celery,
    task: Any,
    monkeypatch: pytest.MonkeyPatch,
    wait: str,
) -> None:
    """Celery is two members ahead, so that it can wait for the one before these."""
    monkeypatch.setattr(batch, "LINGER", 0.05 if wait == "poll" else 60.0)

    def answers() -> None:  # as a worker would, once the task is there
        for task_id in (f"{wait}-0", "id-5"):
            wait_until(lambda: emulator.stats()["published"], 10, "it is sent")
            app.backend.store_result(task_id, "done", "SUCCESS")

    def members() -> Iterator[Any]:
        for number in range(6):
            if number == 3 and wait == "get":
                assert app.AsyncResult(f"{wait}-0").get(timeout=10, interval=0.02) == "done"
            if number == 3 and wait == "poll":
                wait_until(lambda: app.AsyncResult(f"{wait}-0").ready(), 10, "it has run")
            yield task.si(number).set(task_id=f"{wait}-{number}")

    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answers)
        group(members()).apply_async()
        answering.result()

    assert emulator.stats()["published"] == 6
    assert batch_calls(emulator) == 2
    assert sorted(take_ids(emulator)) == [f"{wait}-{number}" for number in range(6)]


def test_a_generator_does_not_wait_for_a_member_that_can_t_be_sent(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    task.delay()
    emulator.faults({"route": "batch", "kind": "500"})

    def members() -> Iterator[Any]:
        for number in range(6):
            if number == 3:
                app.AsyncResult("unsent").get(timeout=10)
            yield task.si(number).set(task_id="unsent" if number == 0 else f"given-{number}")

    with pytest.raises(BatchFailed, match="unsent"):
        group(members()).apply_async()


def test_who_waits_for_a_result_in_a_block_has_its_messages_sent(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        result = task.delay()
        assert emulator.stats()["published"] == 0
        with pytest.raises(TimeoutError):
            result.get(timeout=0.01)
        assert emulator.stats()["published"] == 1
        both = ResultSet([task.delay(), task.delay()], app=app)
        with pytest.raises(TimeoutError):
            both.join(timeout=0.01)
        assert emulator.stats()["published"] == 3
        emulator.faults({"route": "batch", "kind": "500"})
        unsent = task.delay()
        with pytest.raises(BatchFailed, match=unsent.id):
            unsent.get(timeout=10)
        emulator.clear_faults()
        unsent = task.apply_async(task_id=unsent.id)
    assert emulator.stats()["published"] == 4


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("publish", ["group", "block", "batch"])
def test_each_way_and_each_protocol_tells_when_the_message_is_there(
    emulator: EmulatorProcess, app: Celery, task: Any, protocol: int, publish: str
) -> None:
    app.conf.task_protocol = protocol
    told: list[tuple[str, str, int]] = []

    def on_after(body: Any, headers: dict[str, Any], **_: Any) -> None:
        task_id = headers["id"] if protocol == 2 else body["id"]
        told.append(("after", task_id, emulator.stats()["published"]))

    def on_sent(task_id: str, **_: Any) -> None:
        told.append(("sent", task_id, emulator.stats()["published"]))

    each = [task.si().set(task_id=task_id) for task_id in "abc"]
    signals.after_task_publish.connect(on_after)
    signals.task_sent.connect(on_sent)
    try:
        if publish == "group":
            group(each).apply_async()
        elif publish == "block":
            with publish_batch(app):
                for one in each:
                    one.apply_async()
        else:
            with app.producer_or_acquire() as producer, producer.batch():
                for one in each:
                    one.apply_async(producer=producer)
    finally:
        signals.after_task_publish.disconnect(on_after)
        signals.task_sent.disconnect(on_sent)

    assert {count for *_, count in told} == {3}
    assert sorted(told) == [(name, one, 3) for name in ("after", "sent") for one in "abc"]


def test_no_signal_tells_of_what_kombu_s_batch_has_not_sent(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    task.delay()
    told: list[str] = []

    def on_after(headers: dict[str, Any], **_: Any) -> None:
        told.append(headers["id"])

    signals.after_task_publish.connect(on_after)
    try:
        with pytest.raises(RuntimeError), app.producer_or_acquire() as producer, producer.batch():
            task.apply_async(producer=producer, task_id="again")
            raise RuntimeError("the block's own")
        task.apply_async(task_id="again")
        assert told.pop() == "again"
        emulator.faults({"route": "batch", "kind": "500"})
        with pytest.raises(BatchFailed), app.producer_or_acquire() as producer, producer.batch():
            task.apply_async(producer=producer)
        emulator.clear_faults()
        assert told == []
        with app.producer_or_acquire() as producer, producer.batch() as kombus:
            task.apply_async(producer=producer, task_id="sent")
            kombus.flush()
            assert told == ["sent"]
        task.apply_async(task_id="at once")
        assert told == ["sent", "at once"]
    finally:
        signals.after_task_publish.disconnect(on_after)


def test_signals_and_the_event_follow_the_message(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    app.conf.task_send_sent_event = True
    before, after = [], []

    def on_before(headers: dict[str, Any], **_: Any) -> None:
        before.append((headers["id"], emulator.stats()["published"]))

    def on_after(headers: dict[str, Any], **_: Any) -> None:
        after.append((headers["id"], emulator.stats()["published"]))

    ids = [f"id-{number}" for number in range(120)]
    with app.connection_for_write() as connection:
        channel = connection.channel()
        events = app.events.Receiver(channel).queue(channel)
        events.declare()
        signals.before_task_publish.connect(on_before)
        signals.after_task_publish.connect(on_after)
        try:
            group(task.s(each).set(task_id=each) for each in ids).apply_async()
        finally:
            signals.before_task_publish.disconnect(on_before)
            signals.after_task_publish.disconnect(on_after)
        told = [event.payload["uuid"] for event in iter(events.get, None)]

    assert [each for each, _ in before] == [each for each, _ in after[::-1]] == told == ids
    assert {count for _, count in before} == {0, 100}
    assert {count for _, count in after} == {120}


@pytest.mark.parametrize("publish", [
    lambda app, task: _group(task, 230).apply_async(),
    lambda app, task: group(chord(_group(task, 40), task.si()) for _ in range(4)).apply_async(),
    lambda app, task: _in_a_block(app, task),
])  # fmt: skip
def test_what_a_tracer_opens_before_a_publish_it_closes_in_reverse_after_it(
    app: Celery, task: Any, publish: Callable[[Celery, Any], object]
) -> None:
    """As OpenTelemetry does: the span before is the current one again when all are published."""
    span, tokens = ContextVar("span", default="none"), {}

    def on_before(headers: dict[str, Any], **_: Any) -> None:
        tokens[headers["id"]] = span.set(headers["id"])

    def on_after(headers: dict[str, Any], **_: Any) -> None:
        assert span.get() == headers["id"]
        span.reset(tokens.pop(headers["id"]))

    signals.before_task_publish.connect(on_before)
    signals.after_task_publish.connect(on_after)
    try:
        publish(app, task)
    finally:
        signals.before_task_publish.disconnect(on_before)
        signals.after_task_publish.disconnect(on_after)

    assert not tokens
    assert span.get() == "none"


@pytest.mark.parametrize("what", ["retry", "replace"])
def test_a_retry_or_a_replacement_is_sent_though_it_ends_a_block(
    emulator: EmulatorProcess, app: Celery, task: Any, what: str
) -> None:
    task.push_request(
        id="the-task", args=(), kwargs={}, called_directly=False, retries=0, delivery_info={}
    )
    try:
        with pytest.raises((Retry, Ignore)), publish_batch(app):
            task.delay("given up")
            raise task.retry(countdown=0) if what == "retry" else task.replace(task.si(1))
    finally:
        task.pop_request()

    assert take_ids(emulator) == ["the-task"]


@pytest.mark.parametrize("publish", [
    lambda app, task: _group(task, 150).apply_async(),
    lambda app, task: _in_a_block(app, task),
])  # fmt: skip
def test_no_signal_tells_of_what_was_not_sent(
    emulator: EmulatorProcess, app: Celery, task: Any, publish: Callable[[Celery, Any], object]
) -> None:
    task.delay("the queue is there")
    app.conf.task_send_sent_event = True
    told = []

    def on_after(headers: dict[str, Any], **_: Any) -> None:
        told.append(headers["id"])

    with app.connection_for_write() as connection:
        channel = connection.channel()
        events = app.events.Receiver(channel).queue(channel)
        events.declare()
        emulator.faults({"route": "batch", "kind": "500"})
        signals.after_task_publish.connect(on_after)
        try:
            with pytest.raises(BatchFailed):
                publish(app, task)
        finally:
            signals.after_task_publish.disconnect(on_after)
        emulator.clear_faults()
        assert events.get() is None
    assert told == []


def _in_a_block(app: Celery, task: Any) -> None:
    with publish_batch(app):
        for number in range(30):
            task.delay(number)


def test_a_callback_s_fan_out_is_tried_as_often_as_celery_tries_a_callback(
    emulator: EmulatorProcess,
) -> None:
    app = _app(emulator, publish_timeout=0.2)
    task = app.tasks["task"]
    app.set_current()
    with app.connection_for_write() as connection:
        connection.SimpleQueue("work")  # makes the queue
        emulator.faults({"route": "batch", "kind": "hang", "count": 3})
        _run(task, callbacks=[dict(task.si(number)) for number in range(20)])
    app.close()

    assert emulator.stats()["published"] == 20


def test_other_brokers_and_eager_apps_are_untouched(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    threads = transport_threads()
    other = Celery("other", broker="memory://", backend="cache+memory://", set_as_current=False)
    sent = []

    def on_after(headers: dict[str, Any], **_: Any) -> None:
        with other.connection_for_read() as connection:
            sent.append(connection.channel().queue_declare("celery", passive=True).message_count)

    @other.task(name="elsewhere", shared=False)
    def elsewhere(number: int) -> int:
        return number

    signals.after_task_publish.connect(on_after)
    try:
        with publish_batch(app):
            group(elsewhere.s(number) for number in range(5)).apply_async()
    finally:
        signals.after_task_publish.disconnect(on_after)
    assert sent == [1, 2, 3, 4, 5]
    other.conf.task_always_eager = True
    assert group(elsewhere.s(number) for number in range(5)).apply_async().get() == [0, 1, 2, 3, 4]
    assert emulator.stats()["published"] == 0
    assert transport_threads() == threads


@pytest.mark.parametrize("first, then", [
    ("cutmv.transports.cloudflare", "celery.canvas, celery.app.amqp"),
    ("celery.canvas, celery.app.amqp", "cutmv.transports.cloudflare"),
])  # fmt: skip
def test_it_does_not_matter_which_is_imported_first(first: str, then: str) -> None:
    code = (
        f"import {first}, sys; 'celery' in '{first}' or print('celery' in sys.modules)\n"
        f"import {then}, importlib, celery.signals, celery.app.task\n"
        "importlib.reload(sys.modules['cutmv.transports.cloudflare'])\n"
        "changed = (celery.canvas.group._apply_tasks, celery.signals.after_task_publish.send,\n"
        "    celery.app.task.Task.retry)\n"
        "print([hasattr(f, '__wrapped__') and not hasattr(f.__wrapped__, '__wrapped__')\n"
        "    for f in changed])\n"
        "print([m for m in ('httpx',) if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    ).stdout.split("\n")[:-1]  # fmt: skip

    assert shown[-2:] == ["[True, True, True]", "[]"]
    assert shown[:-2] in ([], ["False"])


def test_nothing_is_left_open(emulator: EmulatorProcess) -> None:
    before = transport_threads()
    app = _app(emulator)
    app.conf.broker_pool_limit = 0
    _group(app.tasks["task"], 150).apply_async()
    app.close()

    assert transport_threads() == before
    assert emulator.stats()["published"] == 150


def test_a_chain_to_a_chord_of_a_thousand_is_one_message(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    """Redis takes it: some 450 KB of JSON."""
    chain(task.si(), chord(_group(task, 1000), task.s())).apply_async()

    with connect(emulator) as connection:
        message = connection.channel().basic_get("work")
        (step,) = message.payload[2]["chain"]
        assert len(step["kwargs"]["header"]["kwargs"]["tasks"]) == 1000
        assert "compression" not in message.headers
        message.ack()


@pytest.mark.slow
@pytest.mark.parametrize("chained", [False, True])
def test_a_chord_of_a_thousand_is_sent_on_the_account_s_budget_and_runs(
    make_emulator: Callable[..., EmulatorProcess],
    redis_server: RedisServer,
    tmp_path: Path,
    chained: bool,
) -> None:
    emulator = make_emulator(latency_ms=50)
    results = {"TRANSPORT_RESULTS": redis_server.url}
    code = (
        "import sys, time; from celery import chain, group\n"
        "from tests.support.transport_app import add, total\n"
        "canvas = group(add.si(n, n) for n in range(1000)) | total.s()\n"
        "started = time.monotonic()\n"
        "(chain(add.s(0, 0), canvas) if sys.argv[1] == 'True' else canvas).apply_async()\n"
        "print(time.monotonic() - started)\n"
    )
    with make_site(emulator, tmp_path) as site:
        site.ready(site.worker(env=results))
        env = {**site.env(), **results}
        sent = run_python("-c", code, str(chained), env=env, check=True)
        assert float(sent.stdout) < 3 * slowness()
        wait_until(lambda: site.notes("total"), 60)
        wait_until(lambda: not site.held(), 10)

        assert [note["value"] for note in site.notes("total")] == [sum(range(1000)) * 2]
        assert "429" not in emulator.stats()["calls"]["batch"]
