"""What goes into one publishing call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.api import Client, Credentials
from cutmv.transports.cloudflare.messages import Outgoing, limits
from cutmv.transports.cloudflare.options import Options
from cutmv.transports.cloudflare.producer.group_commit import Publisher
from cutmv.transports.cloudflare.producer.sender import Sender
from cutmv.transports.cloudflare.queues import QueueDirectory

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
