"""What goes into one publishing call."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.errors import PublishFailed, Unreachable
from cutmv.transports.cloudflare.messages import Outgoing, limits
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.producer import group_commit
from cutmv.transports.cloudflare.producer.group_commit import Publisher
from cutmv.transports.cloudflare.producer.sender import Sender
from cutmv.transports.cloudflare.queues import Queue, QueueDirectory
from tests.support.transport import wait_until

#: Cloudflare's bounds on a batch.
MESSAGES, BYTES = 100, 256_000

#: Texts from next to nothing to the largest message, in letters of one to four bytes.
TEXTS = st.builds(
    lambda letter, size: letter * (size // len(letter.encode())),
    st.sampled_from(["a", "é", "€", "🎬"]),
    st.one_of(
        st.integers(4, 2000),
        st.integers(4, limits.MAX_MESSAGE - limits.METADATA),
        st.sampled_from([27_900, 28_000, 127_900]),  # that add up to a batch, or to a bit more
    ),
)


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    options = Options()
    client = Client(Credentials("account", "token"), options)
    sender = Sender(client, options, None)
    return Publisher("work", sender, QueueDirectory(client, options), options)


def billed(messages: Sequence[Outgoing]) -> int:
    """Bytes of a call as Cloudflare counts them."""
    return sum(len(each.text.encode()) + 100 for each in messages)


@given(texts=st.lists(TEXTS, max_size=60), small=st.integers(0, 350))
def test_messages_are_split_into_full_calls_that_fit(
    publisher: Publisher, texts: list[str], small: int
) -> None:
    messages = [Outgoing(text) for text in [*texts, *(str(n) for n in range(small))]]
    calls = [pending.messages for pending in publisher._pack(messages)]

    assert [message for call in calls for message in call] == messages
    for call in calls:
        assert 1 <= len(call) <= MESSAGES
        assert billed(call) <= BYTES
    for call, after in itertools.pairwise(calls):
        assert len(call) == MESSAGES or billed([*call, after[0]]) > BYTES, "one more would fit"


@given(callers=st.lists(st.lists(TEXTS, min_size=1, max_size=30), min_size=1, max_size=20))
def test_callers_share_a_call_only_as_far_as_it_fits(
    publisher: Publisher, callers: list[list[str]]
) -> None:
    waiting = [
        pending
        for texts in callers
        for pending in publisher._pack([Outgoing(text) for text in texts])
    ]
    publisher._crowd = 1  # nobody is waited for
    publisher._waiting.extend(waiting)
    calls = []
    while publisher._waiting:
        calls.append(publisher._take())
        publisher._crowd = 1

    assert [pending for call in calls for pending in call] == waiting
    for call in calls:
        messages = [message for pending in call for message in pending.messages]
        assert 1 <= len(messages) <= MESSAGES
        assert billed(messages) <= BYTES


class _Queues(QueueDirectory):
    """Knows every queue."""

    def get(self, name: Any, deadline: float | None = None) -> Queue:
        return Queue(str(name), "queue-id", "http_pull")


class _Line(Sender):
    """Accepts what is sent, when the gate is open, unless something is to go wrong."""

    def __init__(self) -> None:
        options = Options()
        super().__init__(Client(Credentials("account", "token"), options), options, None)
        self.sent: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.wrong: list[BaseException] = []

    def publish(
        self, queue: Queue, texts: Sequence[tuple[str, int | None]], deadline: float
    ) -> None:
        assert self.gate.wait(max(0.0, deadline - time.monotonic()))
        if self.wrong:
            raise self.wrong.pop()
        self.sent += [text for text, _ in texts]


def _publisher(line: _Line, seconds: float) -> Publisher:
    options = Options(publish_timeout=seconds)
    return Publisher(
        "work", line, _Queues(Client(Credentials("a", "t"), options), options), options
    )


def test_a_leader_that_is_interrupted_passes_on_what_others_publish() -> None:
    line = _Line()
    publisher = _publisher(line, 5.0)
    line.gate.clear()
    line.wrong = [SoftTimeLimitExceeded()]
    with ThreadPoolExecutor(5) as pool:
        leader = pool.submit(publisher.publish, [Outgoing("leader")])
        wait_until(lambda: publisher._leader)
        others = [pool.submit(publisher.publish, [Outgoing(f"{n}")]) for n in range(4)]
        wait_until(lambda: len(publisher._waiting) == 4)
        line.gate.set()
        with pytest.raises(SoftTimeLimitExceeded):
            leader.result()
        for other in others:
            other.result()

    assert sorted(line.sent) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("place", ["_lead", "_take", "_pass_on", "_withdraw"])
def test_a_leader_that_is_interrupted_anywhere_leads_no_longer_than_its_time(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "LATE_CALL_GRACE", 0.1)
    line = _Line()
    publisher = _publisher(line, 0.4)
    interrupted = []

    def interrupt(*_: Any) -> Any:
        interrupted.append(place)
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patch:
        patch.setattr(publisher, place, interrupt)
        if place == "_pass_on":
            line.wrong = [SoftTimeLimitExceeded()]
        with pytest.raises(SoftTimeLimitExceeded):
            if place == "_withdraw":
                patch.setattr(publisher, "_lead", interrupt)
            publisher.publish([Outgoing("first")])
    assert interrupted

    deadline = time.monotonic() + 2
    while True:  # one that comes at once may have to wait for the first one's time
        try:
            publisher.publish([Outgoing("second")])
            break
        except PublishFailed:
            assert time.monotonic() < deadline
    assert "second" in line.sent


def test_a_caller_that_is_interrupted_while_it_waits_takes_its_message_back() -> None:
    line = _Line()
    publisher = _publisher(line, 5.0)
    line.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(publisher.publish, [Outgoing("leader")])
        wait_until(lambda: publisher._leader and not publisher._waiting)

        def interrupt(_pending: Any) -> None:
            raise SoftTimeLimitExceeded

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publisher, "_wait", interrupt)
            with pytest.raises(SoftTimeLimitExceeded):
                publisher.publish([Outgoing("withdrawn")])
        line.gate.set()
        leader.result()
    publisher.publish([Outgoing("after")])

    assert line.sent == ["leader", "after"]


def test_who_shared_a_failed_call_and_has_time_left_goes_with_the_next() -> None:
    line = _Line()
    publisher = _publisher(line, 5.0)
    line.gate.clear()
    line.wrong = [Unreachable("dropped"), Unreachable("dropped")]
    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(publisher.publish, [Outgoing("0")])]
        wait_until(lambda: publisher._leader and not publisher._waiting)
        callers += [pool.submit(publisher.publish, [Outgoing(f"{n}")]) for n in (1, 2)]
        wait_until(lambda: len(publisher._waiting) == 2)
        line.gate.set()
        errors = [caller.exception() for caller in callers]

    assert [type(error) for error in errors].count(PublishFailed) == 2, "those that led"
    assert line.sent == [f"{errors.index(None)}"]


def test_who_waits_leads_when_the_leader_s_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "LATE_CALL_GRACE", 0.05)
    line = _Line()
    publisher = _publisher(line, 5.0)
    publisher._leader = group_commit._PendingPublish((), 0, time.monotonic() + 0.1)

    began = time.monotonic()
    publisher.publish([Outgoing("waits")])
    assert line.sent == ["waits"]
    assert time.monotonic() - began < 2
