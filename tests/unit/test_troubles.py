"""Each thread of the product meets an error that nobody expected, and goes on."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cutmv.app import app
from cutmv.config import Settings
from cutmv.dispatch import Dispatcher, Janitor, janitor, local_runner
from cutmv.dispatch.local_runner import LocalRunner
from cutmv.media import Progress
from cutmv.monitoring import Monitor
from cutmv.progress import EventReceiver, EventSender, Outbox, ProgressEvent, ProgressFeed
from cutmv.progress import celery_events as events
from cutmv.services import Services
from cutmv.transports.cloudflare import keep_going, note_trouble, threads_report, troubles
from cutmv.web.live.watching import attempt
from cutmv.web.metrics import Metrics
from cutmv.web.sockets import CLOSE_INTERNAL_ERROR, WebSocket
from cutmv.worker import heartbeat
from tests.support.transport import wait_until

EVENT = ProgressEvent("step", "job", percent=1.0)


@pytest.fixture(autouse=True)
def _none_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "_troubles", troubles._Troubles())


class Once:
    """Raises an error that nobody expects at its first call."""

    def __init__(self, then: Callable[..., Any] = lambda *_a, **_k: None) -> None:
        self.calls, self._then = 0, then

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("a bug")
        return self._then(*args, **more)


def counted(thread: str, log: pytest.LogCaptureFixture) -> bool:
    """Whether the thread's one error was counted and logged with its traceback."""
    (line,) = [each for each in log.records if "nobody expected" in each.getMessage()]
    return line.exc_info is not None and {
        name: (each["errors"], each["last_error"], each["well"])
        for name, each in threads_report()["troubled"].items()
    } == {thread: (1, "RuntimeError: a bug", False)}


def test_a_loop_is_called_again_until_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    work = Once()
    keep_going("some", work, threading.Event())
    assert work.calls == 2
    assert counted("some", caplog)


def test_a_loop_that_always_fails_ends_when_it_is_told_to(caplog: pytest.LogCaptureFixture) -> None:
    calls, stopping = [0], threading.Event()

    def work() -> None:
        calls[0] += 1
        if calls[0] == 3:
            stopping.set()
        raise SystemExit

    keep_going("some", work, stopping)
    assert calls[0] == 4, "once more, to end as it should"
    assert [bool(each.exc_info) for each in caplog.records] == [True, False, False, False]


@pytest.mark.parametrize("where", ["beat", "listener"])
def test_the_heartbeat(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL_S", 0.01)
    beat = Once(lambda *_: True) if where == "beat" else lambda *_: True
    heard: list[float] = []
    listener = Once(lambda event: heard.append(event.percent)) if where == "listener" else None
    listeners = [listener or (lambda event: heard.append(event.percent))]
    claims, step = cast(Any, SimpleNamespace(beat=beat)), cast(Any, SimpleNamespace(id="s"))
    monkeypatch.setattr(
        heartbeat.ProgressEvent, "of_render", lambda _s, _t, p: SimpleNamespace(percent=p.percent)
    )
    with heartbeat.Heartbeat(claims, step, listeners) as beating:
        wait_until(lambda: threads_report()["troubled"] or None, 10, "the error")
        beating.progressed(Progress(percent=50.0))
        wait_until(lambda: 50.0 in heard, 10, "it goes on")
        assert not beating.lost
    assert counted("heartbeat", caplog)


def test_an_outbox(caplog: pytest.LogCaptureFixture) -> None:
    class Kept(Outbox):
        deliver = Once(lambda events: delivered.extend(events))  # type: ignore[assignment]

    delivered: list[ProgressEvent] = []
    outbox = Kept("kept")
    outbox.send(EVENT)
    wait_until(lambda: threads_report()["troubled"] or None, 10, "the error")
    outbox.send(EVENT)
    wait_until(lambda: delivered, 10, "it goes on")
    outbox.close()
    assert counted("kept", caplog)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("no network")])
def test_the_sender_of_events(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = threading.Event()

    @contextlib.contextmanager
    def dispatcher(**_: Any) -> Iterator[Any]:
        if not sent.is_set():
            sent.set()
            raise error
        yield SimpleNamespace(send=lambda *_a, **_k: again.set())

    again = threading.Event()
    named = SimpleNamespace(events=SimpleNamespace(default_dispatcher=dispatcher))
    named.connection_for_read = lambda: app.connection_for_read("memory://")
    sender = EventSender(cast(Any, named), "host")
    sender.send(EVENT)
    assert sent.wait(10)
    sender.send(EVENT)
    assert again.wait(10)
    sender.close()
    expected = {} if isinstance(error, OSError) else {"event-sender"}
    assert set(threads_report()["troubled"]) == set(expected)


def test_the_receiver_of_events(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "MAX_BACKOFF_S", 0.01)
    received = threading.Event()
    monkeypatch.setattr(EventReceiver, "_capture", Once(lambda *_: received.wait(0.05)))
    memory = SimpleNamespace(connection_for_read=lambda: app.connection_for_read("memory://"))
    receiver = EventReceiver(cast(Any, memory), ProgressFeed())
    receiver.start()
    wait_until(lambda: cast(Any, EventReceiver._capture).calls > 1, 10, "it goes on")
    receiver.close()
    assert counted("event-receiver", caplog)


def test_one_event_costs_the_receiver_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    feed = cast(Any, SimpleNamespace(publish=Once()))
    receiver = EventReceiver(app, feed)
    for _ in range(2):
        receiver._take(EVENT.to_wire())
    assert feed.publish.calls == 2
    assert counted("event-receiver", caplog)


def test_the_janitor(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(janitor, "RESUME_INTERVAL_S", 0.01)
    resume = Once()
    monkeypatch.setattr(Janitor, "resume", resume)
    monkeypatch.setattr(Janitor, "sweep", lambda _: None)
    monkeypatch.setattr(Janitor, "delete_parts", lambda _: None)
    room, ballast = (
        SimpleNamespace(is_short=lambda: False),
        SimpleNamespace(take_in=lambda: None),
    )
    services = SimpleNamespace(store=None, room=room, ballast=ballast)
    cleaner = Janitor(cast(Any, SimpleNamespace(services=services)))
    cleaner.start()
    wait_until(lambda: resume.calls > 2, 10, "it goes on")
    cleaner.close()
    assert counted("janitor", caplog)


@pytest.fixture
def runner() -> Iterator[LocalRunner]:
    runner = LocalRunner(cast(Any, None), ProgressFeed())
    yield runner
    runner.close()


def test_the_local_runner(
    runner: LocalRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    applied = Once()
    monkeypatch.setattr(local_runner, "cut", SimpleNamespace(apply=applied))
    runner.run("step")
    wait_until(lambda: applied.calls == 1 and not runner.has("step"), 10, "it ended")
    runner.run("step")
    wait_until(lambda: applied.calls == 2 and not runner.has("step"), 10, "it goes on")
    assert counted("local-runner", caplog)


def test_a_step_that_no_thread_could_be_had_for_is_left_to_the_janitor(
    runner: LocalRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def again(*_: Any, **__: Any) -> None:
        runner._retry_later("step", 60.0)

    monkeypatch.setattr(local_runner, "cut", SimpleNamespace(apply=again))
    monkeypatch.setattr(threading.Timer, "start", Once())
    runner.run("step")
    # What another thread was troubled by may be told of still.
    wait_until(lambda: threads_report()["troubled"] and not runner.has("step"), 10, "the error")
    assert counted("local-runner", caplog)

    monkeypatch.setattr(runner._executor, "submit", Once())
    with pytest.raises(RuntimeError):
        runner.run("other")
    assert not runner.has("other")


def test_a_websocket(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[int] = []
    attempt(cast(WebSocket, SimpleNamespace(close=closed.append)), Once())
    assert closed == [CLOSE_INTERNAL_ERROR]
    assert counted("websocket", caplog)


def test_a_pool_s_process_leaves_its_errors_to_the_one_that_people_ask() -> None:
    for _ in range(2):
        child = os.fork()
        if not child:
            note_trouble("heartbeat", RuntimeError("at https://me:hunter2@host"), "it goes on")
            os._exit(0)
        os.waitpid(child, 0)
    note_trouble("janitor", RuntimeError("a bug"), "it goes on")
    report = threads_report()
    assert report["errors"] == 3
    assert not report["well"]
    assert report["troubled"]["heartbeat"]["errors"] == 2
    assert report["troubled"]["heartbeat"]["last_error"] == "RuntimeError: at https://***@host"


def test_metrics_have_a_bounded_series_of_each_kind_of_thread(tmp_path: Path) -> None:
    for _ in range(3):
        note_trouble("janitor", RuntimeError("a bug"), "it goes on")
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path)}
    dispatcher = Dispatcher(Services.open(Settings.from_env(env)), ProgressFeed())
    registry = Metrics(Monitor(dispatcher)).registry
    value = registry.get_sample_value
    assert value("cutmv_thread_errors_total", {"thread": "janitor"}) == 3
    assert value("cutmv_thread_unwell", {"thread": "janitor"}) == 1
    assert value("cutmv_thread_unwell", {"thread": "transport"}) is not None
