from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual.exchange import TopicExchange

from cutmv.transports.cloudflare.errors import QueueNameError
from cutmv.transports.cloudflare.queues import names
from cutmv.transports.cloudflare.queues.bindings import (
    Binding,
    TemporaryBinding,
    exchange_digest,
    matches,
)

WORDS = st.lists(st.text("abcdeXYZ_0-", min_size=1, max_size=6), min_size=1, max_size=5)
KEYS = WORDS.map(".".join) | st.text(max_size=80) | st.uuids().map(str)
PATTERNS = st.lists(st.sampled_from(["#", "*", "a", "task", "worker"]), min_size=1, max_size=5)
KINDS = st.sampled_from(["direct", "topic", "fanout"])


@given(scope=st.text(max_size=5), exchange=KEYS, kind=KINDS, key=KEYS, queue=KEYS)
def test_a_binding_has_a_name_that_cloudflare_takes_and_can_be_read_again(
    scope: str, exchange: str, kind: str, key: str, queue: str
) -> None:
    name = TemporaryBinding.of(scope, Binding(exchange, kind, key, queue))
    assert names.is_valid(name.name)
    assert TemporaryBinding.read(name.name) == name
    assert name.exchange == exchange_digest(scope, exchange)


@given(name=st.text(min_size=1, max_size=30))
def test_no_ordinary_queue_is_taken_for_a_binding(name: str) -> None:
    try:
        queue_name = names.encode(name)
    except QueueNameError:
        return
    assert TemporaryBinding.read(queue_name) is None


@given(key=KEYS, other=KEYS)
def test_a_direct_binding_takes_its_key_and_no_other(key: str, other: str) -> None:
    name = TemporaryBinding.of("", Binding("reply", "direct", key, "q"))
    assert name.takes(key)
    assert name.takes(other) == (key == other)


@given(pattern=PATTERNS.map(".".join), words=WORDS)
def test_a_topic_binding_takes_at_least_what_matches(pattern: str, words: list[str]) -> None:
    key = ".".join(words)
    name = TemporaryBinding.of("", Binding("events", "topic", pattern, "q"))
    if matches(pattern, key):
        assert name.takes(key)
    if name.key != "a":  # short enough to be spelled out
        assert name.takes(key) == matches(pattern, key)


@given(one=st.tuples(KEYS, KEYS, KEYS), other=st.tuples(KEYS, KEYS, KEYS))
def test_two_bindings_of_a_direct_exchange_never_share_a_name(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    names_ = {
        TemporaryBinding.of("", Binding(exchange, "direct", key, q)).name
        for exchange, key, q in (one, other)
    }
    assert len(names_) == len({one, other})


@given(key=KEYS, routing_key=KEYS)
def test_a_fanout_takes_everything(key: str, routing_key: str) -> None:
    binding = Binding("control", "fanout", key, "q")
    assert TemporaryBinding.of("", binding).takes(routing_key)


@given(kind=KINDS, key=KEYS)
def test_a_binding_s_name_tells_the_type_of_its_exchange(kind: str, key: str) -> None:
    name = TemporaryBinding.of("", Binding("control", kind, key, "q")).name
    read = TemporaryBinding.read(name)
    assert read is not None
    assert read.type == kind


@given(pattern=st.lists(st.sampled_from(["*", "a", "task"]), min_size=1, max_size=4), words=WORDS)
def test_patterns_of_words_match_as_kombu_s_do(pattern: list[str], words: list[str]) -> None:
    regex = TopicExchange(None).key_to_pattern(".".join(pattern))
    assert matches(".".join(pattern), ".".join(words)) == bool(re.match(regex, ".".join(words)))


@given(
    pattern=PATTERNS,
    words=st.lists(st.sampled_from(["a", "task", "worker"]), min_size=1, max_size=6),
)
def test_patterns_match_as_a_regular_expression_of_words_does(
    pattern: list[str], words: list[str]
) -> None:
    """Each word with a dot behind it, so that none is a special case."""
    parts = {"#": r"(?:[^.]+\.)*", "*": r"[^.]+\."}
    regex = "".join(parts.get(word, re.escape(word) + r"\.") for word in pattern)
    key = "".join(f"{word}." for word in words)
    assert matches(".".join(pattern), ".".join(words)) == bool(re.fullmatch(regex, key))


def test_a_hash_stands_for_any_number_of_words() -> None:
    assert matches("#", "")
    assert matches("#", "task.started")
    assert matches("task.#", "task")
    assert matches("task.#", "task.started.late")
    assert matches("#.late", "task.started.late")
    assert not matches("task.#", "worker.online")


def test_those_who_share_an_account_do_not_share_exchanges() -> None:
    binding = Binding("control", "fanout", "", "q")
    one, other = (TemporaryBinding.of(scope, binding) for scope in ("a-", "b-"))
    assert one.exchange != other.exchange
