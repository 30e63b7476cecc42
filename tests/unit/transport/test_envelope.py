import base64
import json
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.messages import envelope, limits

PUBLISH_ID = "0a1b2c3d-0000-4000-8000-0123456789ab"


def _message(body: str) -> dict[str, object]:
    return {
        "id": PUBLISH_ID,
        "body": body,
        "headers": {"task": "t"},
        "properties": {"delivery_info": {"exchange": "", "routing_key": "q"}},
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }


def _pulled(text: str, attempts: int = 1, content_type: str = "text") -> dict[str, object]:
    return {
        "id": "m1",
        "body": text,
        "attempts": attempts,
        "lease_id": "lease-1",
        "metadata": {"CF-Content-Type": content_type},
    }


@given(st.text(max_size=200))
def test_a_body_of_any_text_survives(body: str) -> None:
    decoded = envelope.decode(_pulled(envelope.encode(_message(body))))

    assert decoded["body"] == body


def test_a_lone_surrogate_survives() -> None:
    decoded = envelope.decode(_pulled(envelope.encode(_message("\ud800"))))

    assert decoded["body"] == "\ud800"


def test_a_json_body_travels_as_plain_text() -> None:
    body = json.dumps([[1], {"k": "é"}, {}], ensure_ascii=False)

    text, encoding = envelope.encode_body(body, "utf-8")

    assert (text, encoding) == (body, "utf-8")
    assert base64.b64encode(body.encode()).decode() not in envelope.encode(_message(text))


def test_bytes_travel_as_base64_unless_they_are_said_to_be_text() -> None:
    assert envelope.encode_body(b"\xff\x00", "binary") == ("/wA=", "base64")
    assert envelope.encode_body("é".encode(), "utf-8") == ("é", "utf-8")
    assert envelope.encode_body(b"\xff\x00", "utf-8") == ("/wA=", "base64")


def test_a_first_delivery_is_not_redelivered_and_a_second_is() -> None:
    text = envelope.encode(_message("{}"))

    first, second = envelope.decode(_pulled(text)), envelope.decode(_pulled(text, attempts=2))

    assert first["properties"]["delivery_info"]["delivery_count"] == 1
    assert first["properties"]["delivery_info"]["redelivered"] is False
    assert second["properties"]["delivery_info"]["delivery_count"] == 2
    assert second["properties"]["delivery_info"]["redelivered"] is True


def test_the_publishers_id_is_the_message_id_and_the_lease_the_delivery_tag() -> None:
    decoded = envelope.decode(_pulled(envelope.encode(_message("{}"))))

    assert decoded["properties"]["message_id"] == PUBLISH_ID
    assert decoded["properties"]["delivery_tag"] == "lease-1"


def test_headers_and_properties_come_through_as_they_were_published() -> None:
    for message_id in ("mine", 5, None, {"a": [1]}):
        message = _message("{}")
        message["properties"] = {"message_id": message_id, "delivery_info": {}}

        decoded = envelope.decode(_pulled(envelope.encode(message), attempts=3))

        assert decoded["headers"] == {"task": "t"}
        assert decoded["properties"]["message_id"] == message_id


def test_a_message_is_known_by_its_queue_and_by_an_id_that_nobody_sets() -> None:
    mine, another = _message("{}"), {**_message("{}"), "id": str(uuid4())}
    for message in (mine, another):
        message["properties"] = {"message_id": "the same", "delivery_info": {}}
    one = envelope.decode(_pulled(envelope.encode(mine)))
    other = envelope.decode(_pulled(envelope.encode(another)))

    assert envelope.identity("q", _pulled(""), one) != envelope.identity("q", _pulled(""), other)
    assert envelope.identity("q", _pulled(""), one) != envelope.identity("r", _pulled(""), one)
    moved = {**_pulled(""), "id": "of a copy"}
    assert envelope.identity("q", _pulled(""), one) == envelope.identity("q", moved, one)


@pytest.mark.parametrize("theirs", ["task-1", 5, None, ["x"], "\ud800", "x" * 100_000])
def test_an_id_that_others_wrote_identifies_nothing(theirs: object) -> None:
    decoded = envelope.decode(_pulled(envelope.encode({**_message("{}"), "id": theirs})))

    assert envelope.publish_id(decoded) is None
    assert envelope.identity("q", {"id": "a"}, decoded) != envelope.identity(
        "q", {"id": "b"}, decoded
    )
    assert decoded["properties"]["message_id"] == "m1"


def test_a_copy_of_what_a_consumer_holds_is_redelivered() -> None:
    text = envelope.mark_held(envelope.encode(_message("{}")))

    assert envelope.decode(_pulled(text))["properties"]["delivery_info"]["redelivered"] is True


def test_what_a_worker_sent_as_json_is_read_too() -> None:
    text = base64.b64encode(envelope.encode(_message("{}")).encode()).decode()

    assert envelope.decode(_pulled(text, content_type="json"))["body"] == "{}"


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", "null", '{"body":"x","headers":3}', '"text"', "[" * 100_000]
)
def test_what_is_no_envelope_is_told_apart(text: str) -> None:
    with pytest.raises(envelope.Undecodable):
        envelope.decode(_pulled(text))


def test_the_size_counts_bytes_and_not_characters_and_the_metadata() -> None:
    assert limits.size("é" * 70_000) == 140_100
