"""What a request's JSON may be, and the code it is refused with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.emulator import schema
from cutmv.emulator.errors import ApiError
from cutmv.emulator.model import QueueSettings


def code_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """The code that a call is refused with."""
    with pytest.raises(ApiError) as refused:
        call(*args, **kwargs)
    return refused.value.code


def text(body: str, **rest: Any) -> dict[str, Any]:
    return {"body": body, "content_type": "text", **rest}


@pytest.mark.parametrize(
    "raw",
    [b"{", b"nonsense", b'{"a": NaN}', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"],
)
def test_a_body_that_is_no_json_is_refused(raw: bytes) -> None:
    assert code_of(schema.parse, raw) == 10208


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"text"', b"null"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    assert code_of(schema.parse, raw) == 10207


def test_an_empty_body_is_an_empty_object() -> None:
    assert schema.parse(b"") == schema.parse(b" {} ") == {}


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "x" * 63])
def test_a_well_formed_queue_name_is_taken(name: str) -> None:
    assert schema.queue_name({"queue_name": name}) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "x" * 64, "a\n", None, 7])
def test_a_malformed_queue_name_is_refused(name: object) -> None:
    assert code_of(schema.queue_name, {"queue_name": name}) == 11003


def test_a_message_may_be_128_kb_with_its_metadata_and_not_a_byte_more() -> None:
    assert len(schema.message(text("x" * 127_900)).body) == 127_900
    assert code_of(schema.message, text("x" * 127_901)) == 10204
    # Bytes count, not characters.
    assert code_of(schema.message, text("é" * 63_951)) == 10204


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"body": "a", "content_type": "bytes"}, 10203),
        ({"body": "a", "content_type": ["text"]}, 10203),
        ({"body": {}, "content_type": "text"}, 10207),
        ({"content_type": "json"}, 10207),
        (text("a", delay_seconds=-1), 10203),
        (text("a", delay_seconds=43_201), 10203),
        (text("a", delay_seconds=1.5), 10203),
        (text("a", delay_seconds="1"), 10203),
        (text("a", delay_seconds=True), 10203),
        (text("a", delay_seconds=1e400), 10203),
    ],
)
def test_a_bad_message_is_refused(document: dict[str, Any], code: int) -> None:
    assert code_of(schema.message, document) == code


def test_a_batch_is_bounded_in_count_and_size() -> None:
    assert len(schema.batch({"messages": [text("a")] * 100})) == 100
    assert code_of(schema.batch, {"messages": [text("a")] * 101}) == 10206
    assert code_of(schema.batch, {"messages": []}) == 10206
    assert code_of(schema.batch, {}) == 10206
    assert code_of(schema.batch, {"messages": "a"}) == 10207
    assert len(schema.batch({"messages": [text("x" * 127_900)] * 2})) == 2
    assert code_of(schema.batch, {"messages": [text("x" * 90_000)] * 3}) == 10205


def test_a_batchs_delay_is_for_the_messages_that_name_none() -> None:
    messages = [text("a"), text("b", delay_seconds=0), text("c", delay_seconds=9)]
    batch = schema.batch({"messages": messages, "delay_seconds": 5})
    assert [each.delay for each in batch] == [5, 0, 9]
    assert code_of(schema.batch, {"messages": messages, "delay_seconds": 43_201}) == 10202


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_any_json_body_comes_out_as_it_went_in(body: object) -> None:
    assert json.loads(schema.message({"body": body, "content_type": "json"}).body) == body


def test_a_lone_surrogate_does_no_harm() -> None:
    assert schema.message(text("a\ud800")).body == b"a?"


def test_a_consumer_gets_its_types_defaults() -> None:
    spec = schema.consumer({"type": "http_pull", "settings": {"max_retries": 100.0}})
    assert spec.settings == {
        "batch_size": 5,
        "max_retries": 100,
        "retry_delay": 0,
        "visibility_timeout_ms": 30_000,
    }


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"type": "push"}, 10207),
        ({"type": "worker"}, 10207),
        ({"type": "http_pull", "settings": {"max_retries": 101}}, 100127),
        ({"type": "http_pull", "settings": {"visibility_timeout_ms": 43_200_001}}, 100127),
        ({"type": "http_pull", "settings": {"batch_size": 0}}, 100127),
        ({"type": "http_pull", "dead_letter_queue": "No"}, 11003),
    ],
)
def test_a_bad_consumer_is_refused(document: dict[str, Any], code: int) -> None:
    assert code_of(schema.consumer, document) == code


@pytest.mark.parametrize(
    "settings",
    [
        {"message_retention_period": 59},
        {"message_retention_period": 1_209_601},
        {"delivery_delay": 43_201},
        {"delivery_paused": "no"},
    ],
)
def test_bad_queue_settings_are_refused(settings: dict[str, Any]) -> None:
    assert code_of(schema.queue_settings, {"settings": settings}, QueueSettings()) == 100128


def test_acks_and_retries_need_lease_ids() -> None:
    assert schema.acks({}) == schema.retries({}) == ()
    assert code_of(schema.acks, {"acks": ["lease"]}) == 10207
    assert code_of(schema.retries, {"retries": [{"delay_seconds": 1}]}) == 10207
    bad_delay = {"retries": [{"lease_id": "a", "delay_seconds": -1}]}
    assert code_of(schema.retries, bad_delay) == 10203


@pytest.mark.parametrize(
    ("given", "expected"), [("3", 3), ("0", 1), ("99", 20), ("-1", 7), ("x", 7), ("9" * 5000, 20)]
)
def test_a_pages_number_is_kept_within_its_bounds(given: str, expected: int) -> None:
    assert schema.page({"page": given}, "page", 7, 20) == expected
    assert schema.page({}, "page", 7, 20) == 7
