import select
import threading
from queue import Empty

import pytest
from celery.signals import worker_shutting_down

from cutmv.transports.cloudflare.celery_hooks import worker as celery_worker
from cutmv.transports.cloudflare.consumer.ready_queue import ReadyQueue


def _messages(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


def _readable(ready: ReadyQueue[str]) -> bool:
    return bool(select.select([ready.fileno()], [], [], 0)[0])


def test_consumers_take_turns() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    ready.put("big", _messages("1", "2", "3"))
    ready.put("small", _messages("a"))

    order = [ready.get(0)[1]["name"] for _ in range(4)]

    assert order == ["1", "a", "2", "3"]


def test_an_empty_queue_says_so_when_the_time_is_over() -> None:
    with pytest.raises(Empty):
        ReadyQueue[str]().get(0.01)


def test_a_waiting_reader_gets_what_another_thread_puts() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    threading.Timer(0.05, ready.put, ["s", _messages("x")]).start()

    assert ready.get(10) == ("s", {"name": "x"})


def test_an_error_is_raised_once_and_before_messages() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    ready.put("s", _messages("x"))
    ready.fail(RuntimeError("broken"))

    with pytest.raises(RuntimeError, match="broken"):
        ready.get(0)
    assert ready.get(0)[1] == {"name": "x"}


def test_the_descriptor_is_readable_exactly_while_there_is_something() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    assert not _readable(ready)

    ready.put("s", _messages("x", "y"))
    assert _readable(ready)
    ready.get(0)
    ready.drained()
    assert _readable(ready)
    ready.get(0)
    ready.drained()
    assert not _readable(ready)
    ready.close()


def test_what_came_before_the_descriptor_was_asked_for_shows() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    ready.put("s", _messages("x"))

    assert _readable(ready)
    ready.close()


def test_taking_back_leaves_the_others_messages() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    ready.put("s", _messages("x", "y"))
    ready.put("t", _messages("z"))

    assert ready.take_back("s") == _messages("x", "y")
    assert ready.get(0) == ("t", {"name": "z"})
    with pytest.raises(Empty):
        ready.get(0)


def test_a_shutdown_s_signal_wakes_a_loop_at_once_whoever_has_the_lock() -> None:
    ready: ReadyQueue[str] = ReadyQueue()
    celery_worker.when_shutting_down(ready.wake)
    assert not _readable(ready)
    with ready._change:
        thread = threading.Thread(
            target=worker_shutting_down.send, args=["w"], kwargs={"sig": "SIGTERM", "how": "Warm"}
        )
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
    assert _readable(ready)
    ready.drained()
    assert not _readable(ready)
    ready.close()
    worker_shutting_down.send("w", sig="SIGTERM", how="Warm")
