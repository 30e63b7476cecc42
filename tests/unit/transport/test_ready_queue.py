import select
import threading
from queue import Empty

import pytest

from cutmv.transports.cloudflare.consumer.ready_queue import Inbox


def _messages(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


def _readable(inbox: Inbox[str]) -> bool:
    return bool(select.select([inbox.fileno()], [], [], 0)[0])


def test_subscriptions_take_turns() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put("big", _messages("1", "2", "3"))
    inbox.put("small", _messages("a"))

    order = [inbox.get(0)[1]["name"] for _ in range(4)]

    assert order == ["1", "a", "2", "3"]


def test_an_empty_inbox_says_so_when_the_time_is_over() -> None:
    with pytest.raises(Empty):
        Inbox[str]().get(0.01)


def test_a_waiting_reader_gets_what_another_thread_puts() -> None:
    inbox: Inbox[str] = Inbox()
    threading.Timer(0.05, inbox.put, ["s", _messages("x")]).start()

    assert inbox.get(10) == ("s", {"name": "x"})


def test_an_error_is_raised_once_and_before_messages() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put("s", _messages("x"))
    inbox.fail(RuntimeError("broken"))

    with pytest.raises(RuntimeError, match="broken"):
        inbox.get(0)
    assert inbox.get(0)[1] == {"name": "x"}


def test_the_descriptor_is_readable_exactly_while_there_is_something() -> None:
    inbox: Inbox[str] = Inbox()
    assert not _readable(inbox)

    inbox.put("s", _messages("x", "y"))
    assert _readable(inbox)
    inbox.get(0)
    inbox.rest()
    assert _readable(inbox)
    inbox.get(0)
    inbox.rest()
    assert not _readable(inbox)
    inbox.close()


def test_what_came_before_the_descriptor_was_asked_for_shows() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put("s", _messages("x"))

    assert _readable(inbox)
    inbox.close()


def test_taking_back_leaves_the_others_messages() -> None:
    inbox: Inbox[str] = Inbox()
    inbox.put("s", _messages("x", "y"))
    inbox.put("t", _messages("z"))

    assert inbox.take_back("s") == _messages("x", "y")
    assert inbox.get(0) == ("t", {"name": "z"})
    with pytest.raises(Empty):
        inbox.get(0)
