"""`publish_batch`: loops of `apply_async` by few calls, all or an error that names the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from celery import Celery, chord, group
from celery.canvas import Signature

from cutmv.transports.cloudflare import publish_batch
from cutmv.transports.cloudflare.errors import BatchFailed, MessageTooLarge, PublishFailed
from tests.support.emulator import EmulatorProcess
from tests.support.queues import batch_calls, take_ids
from tests.support.transport import connect, noise, transport_threads


def _app(emulator: EmulatorProcess, **options: Any) -> Celery:
    app = Celery(
        "batch",
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
    return app


@pytest.fixture
def app(emulator: EmulatorProcess) -> Iterator[Celery]:
    app = _app(emulator)
    yield app
    app.close()


@pytest.fixture
def task(app: Celery) -> Any:
    @app.task(name="task", shared=False)
    def task(*args: Any) -> None:
        """Never run here."""

    return task


def test_a_loop_becomes_calls_of_a_hundred_messages(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        for number in range(250):
            task.delay(number)
            if number == 98:
                assert emulator.stats()["published"] == 0
        assert emulator.stats()["published"] == 200, "a full call goes at once"

    assert emulator.stats()["published"] == 250
    assert batch_calls(emulator) == 3


def test_groups_chords_and_chunks_are_gathered_with_the_rest(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    def signature(number: int) -> Signature[Any]:
        return task.s(number)

    with publish_batch(app):
        group(signature(n) for n in range(20)).apply_async()
        chord([signature(n) for n in range(20)], signature(0)).apply_async()
        task.chunks(zip(range(60), strict=True), 3).apply_async()
        app.send_task("task", [1])
        task.apply_async([1], countdown=30)
        assert emulator.stats()["published"] == 0

    assert emulator.stats()["published"] == 20 + 20 + 20 + 2
    assert batch_calls(emulator) == 1


def test_large_messages_become_calls_of_256_kb(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        for _ in range(7):
            task.delay("x" * 100_000)

    assert emulator.stats()["published"] == 7
    assert emulator.stats()["calls"]["batch"] == {"200": 4}


def test_each_queue_has_its_own_calls(emulator: EmulatorProcess, app: Celery, task: Any) -> None:
    with publish_batch(app):
        for number in range(40):
            task.apply_async([number], queue=f"queue{number % 2}")

    held = emulator.stats()["messages"]
    assert {queue: held[queue] for queue in ("queue0", "queue1")} == {"queue0": 20, "queue1": 20}
    assert batch_calls(emulator) == 2


def test_what_the_end_can_t_send_is_named(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    task.delay("the queue is there")
    emulator.faults({"route": "batch", "kind": "500"})
    ids = []
    with pytest.raises(BatchFailed) as caught, publish_batch(app):
        for number in range(30):
            ids.append(task.delay(number).id)
    emulator.clear_faults()

    assert caught.value.unsent == tuple(ids)
    line = str(caught.value)
    assert line.startswith(f"30 message(s) were not sent: {', '.join(ids[:5])} and 25 more: ")
    assert "HTTP 500" in line
    assert "\n" not in line
    assert isinstance(caught.value, PublishFailed)
    assert caught.value.status == 500
    assert emulator.stats()["published"] == 1


def test_a_fault_in_the_middle_splits_the_loop_into_sent_and_named(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    ids = [f"id-{number}" for number in range(300)]
    begun = []
    with pytest.raises(BatchFailed) as caught, publish_batch(app):
        for number, task_id in enumerate(ids):
            if number == 150:
                emulator.faults({"route": "batch", "kind": "500"})
            begun.append(task_id)
            task.apply_async([number], task_id=task_id, queue=f"queue{number % 10 == 0:d}")
    emulator.clear_faults()

    sent = take_ids(emulator, "queue0")
    assert len(sent) == 100
    assert sorted([*sent, *caught.value.unsent]) == sorted(begun)
    assert emulator.stats()["messages"]["queue1"] == 0
    assert not hasattr(caught.value, "__notes__")


def test_an_error_that_the_block_swallows_is_raised_at_its_end(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    failures = 0
    with pytest.raises(BatchFailed) as caught, publish_batch(app):
        for number in range(250):
            if number == 50:
                emulator.faults({"route": "batch", "kind": "500"})
            if number == 150:
                emulator.clear_faults()
            try:
                task.apply_async([number], task_id=f"id-{number}")
            except BatchFailed:
                failures += 1

    assert failures == 1
    assert caught.value.unsent == tuple(f"id-{number}" for number in range(100))
    assert sorted(take_ids(emulator)) == sorted(f"id-{number}" for number in range(100, 250))


def test_what_failed_and_was_sent_again_under_its_id_is_not_named(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    task.delay("the queue is there")
    emulator.faults({"route": "batch", "kind": "500"})
    with publish_batch(app):
        with pytest.raises(BatchFailed) as caught:
            for number in range(100):
                task.apply_async([number], task_id=f"id-{number}")
        emulator.clear_faults()
        for task_id in caught.value.unsent:
            task.apply_async([0], task_id=task_id)

    assert emulator.stats()["published"] == 101


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_block_s_own_code_names_what_waited(
    emulator: EmulatorProcess, app: Celery, task: Any, error: type[BaseException]
) -> None:
    with pytest.raises(error) as caught, publish_batch(app):
        for number in range(103):
            task.apply_async([number], task_id=f"id-{number}")
        raise error

    assert caught.value.__notes__ == ["3 message(s) were not sent: id-100, id-101, id-102"]
    assert emulator.stats()["published"] == 100


def test_a_message_that_is_too_large_fails_alone(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        task.delay("before")
        with pytest.raises(MessageTooLarge):
            task.delay(noise(130_000))
        task.delay("after")

    assert emulator.stats()["published"] == 2


def test_a_nested_block_sends_at_its_own_end(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        task.apply_async([0], task_id="outer")
        with publish_batch(app):
            task.apply_async([0], task_id="inner")
        assert emulator.stats()["published"] == 1
        with pytest.raises(ZeroDivisionError), publish_batch(app):
            task.apply_async([0], task_id="given up")
            raise ZeroDivisionError
        task.apply_async([0], task_id="outer too")

    assert sorted(take_ids(emulator)) == ["inner", "outer", "outer too"]
    assert batch_calls(emulator) == 2


def test_blocks_of_two_accounts_may_be_nested(
    emulator: EmulatorProcess, make_emulator: Callable[..., EmulatorProcess], app: Celery, task: Any
) -> None:
    elsewhere = make_emulator()
    other = _app(elsewhere)
    with publish_batch(app), publish_batch(other):
        for number in range(10):
            task.delay(number)
            other.send_task("task", [number])
    other.close()

    assert batch_calls(emulator) == batch_calls(elsewhere) == 1
    assert emulator.stats()["published"] == elsewhere.stats()["published"] == 10


def test_with_another_broker_the_block_does_nothing() -> None:
    app = Celery("batch", broker="memory://", set_as_current=False)
    threads = transport_threads()
    with publish_batch(app):
        app.send_task("task", queue="elsewhere")
        with app.connection_for_read() as connection:
            assert connection.SimpleQueue("elsewhere").get(timeout=5).headers["task"] == "task"

    assert transport_threads() == threads


def test_other_threads_publish_at_once_and_have_blocks_of_their_own(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    def alone() -> None:
        task.apply_async([0], task_id="alone")

    def in_a_block(name: str) -> None:
        with publish_batch(app):
            for number in range(100):
                task.apply_async([0], task_id=f"{name}-{number}")

    with publish_batch(app):
        task.apply_async([0], task_id="mine")
        threads = [threading.Thread(target=alone)]
        threads += [threading.Thread(target=in_a_block, args=[name]) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert emulator.stats()["published"] == 401

    sent = take_ids(emulator)
    assert len(sent) == len(set(sent)) == 402
    assert batch_calls(emulator) <= 6


def test_a_coroutine_that_outlives_its_block_publishes_at_once(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    async def later(go: asyncio.Event) -> None:
        await go.wait()
        task.delay("late")

    async def main() -> None:
        go = asyncio.Event()
        with publish_batch(app):
            task.delay("early")
            lives_on = asyncio.create_task(later(go))
            await asyncio.sleep(0)
        assert emulator.stats()["published"] == 1
        go.set()
        await lives_on

    asyncio.run(main())
    assert emulator.stats()["published"] == 2


@pytest.mark.parametrize("kind", ["500", "drop_before", "429"])
def test_a_passing_fault_sends_nothing_twice(
    emulator: EmulatorProcess, app: Celery, task: Any, kind: str
) -> None:
    task.delay("the queue is there")
    emulator.faults({"route": "batch", "kind": kind, "count": 1, "retry_after": 0})
    with publish_batch(app):
        for number in range(150):
            task.delay(number)

    assert emulator.stats()["published"] == 151


def test_a_policy_that_retries_failed_publishes_sends_nothing_twice(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    """kombu calls again for the message that filled the call; the rest is given up and named."""
    policy = {"max_retries": 3, "retry_errors": (PublishFailed,)}
    with pytest.raises(BatchFailed) as caught, publish_batch(app):
        for number in range(110):
            if number == 99:
                emulator.faults({"route": "batch", "kind": "hang", "count": 1})
            task.apply_async([number], task_id=f"id-{number}", retry=True, retry_policy=policy)

    assert caught.value.unsent == tuple(f"id-{number}" for number in range(99))
    assert sorted(take_ids(emulator)) == sorted(f"id-{number}" for number in range(99, 110))


def test_what_waits_is_sent_though_the_block_closed_its_connections(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with publish_batch(app):
        task.delay("x")
        app.pool.force_close_all()
        app.close()

    assert emulator.stats()["published"] == 1


def test_fan_out_messages_are_not_held_up(emulator: EmulatorProcess) -> None:
    news = kombu.Exchange("news", type="fanout")
    durable = kombu.Queue("durable", news)
    brief = kombu.Queue("brief", news, auto_delete=True)
    app = _app(emulator)
    app.conf.task_send_sent_event = True
    with app.connection_for_write() as connection, connect(emulator) as other:
        channel = connection.channel()
        events = app.events.Receiver(channel).queue
        for queue in (durable, brief, events):
            queue(channel).declare()
        with publish_batch(app):
            app.send_task("task", [1])
            connection.Producer().publish("hello", exchange=news, declare=[durable])

            assert brief(channel).get().payload == "hello"
            assert other.channel().basic_get("durable").payload == "hello"
            assert emulator.stats()["messages"]["work"] == 0, "the task waits for the batch"
            assert events(channel).get() is None, "it tells what is not true yet"
        assert events(channel).get().payload["type"] == "task-sent"
    app.close()


def test_nothing_is_left_open(emulator: EmulatorProcess) -> None:
    before = transport_threads()
    app = _app(emulator)
    with publish_batch(app):
        app.send_task("task", [1])
    app.close()

    assert transport_threads() == before
    assert emulator.stats()["published"] == 1


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if "publish_batch(app)" in each.message]


def test_a_plain_loop_is_told_of_blocks_once_before_it_is_refused(
    emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    app = _app(emulator, rate_limit=40)  # 36 for this process, 18 of them in a burst
    sent = []
    with pytest.raises(PublishFailed), app.connection_for_write():
        for number in range(40):
            app.send_task("task", [number])
            sent.append(len(_warnings(caplog)))
    app.close()

    assert emulator.stats()["published"] == len(sent)
    assert 0 in sent, "told of the first"
    assert sent[-1] == 1
    (line,) = _warnings(caplog)
    assert "\n" not in line


@pytest.mark.parametrize("options", [{"rate_limit": 0}, {"rate_window": 1}])
def test_what_uses_up_no_budget_is_told_nothing(
    emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    app = _app(emulator, **{"rate_limit": 400, **options})
    for number in range(100 if options == {"rate_limit": 0} else 20):
        app.send_task("task", [number])
    with publish_batch(app):
        for number in range(1000):
            app.send_task("task", [number])
    app.close()

    assert _warnings(caplog) == []


def test_the_stats_count_messages_and_calls(
    emulator: EmulatorProcess, app: Celery, task: Any
) -> None:
    with app.connection_for_write() as connection:
        task.delay(1)
        with publish_batch(app):
            for number in range(150):
                task.delay(number)

        assert connection.connection.stats()["publishing"] == {
            "calls": 3,
            "messages": 151,
            "by_edge": 0,
        }
