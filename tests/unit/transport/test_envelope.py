import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutmv.transports.cloudflare.messages import envelope, limits


def _message(body: str) -> dict[str, object]:
    return {
        "id": "publish-1",
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

    assert first["headers"]["x-delivery-count"] == 1
    assert first["properties"]["delivery_info"]["redelivered"] is False
    assert second["headers"]["x-delivery-count"] == 2
    assert second["properties"]["delivery_info"]["redelivered"] is True


def test_the_publishers_id_is_the_message_id_and_the_lease_the_delivery_tag() -> None:
    decoded = envelope.decode(_pulled(envelope.encode(_message("{}"))))

    assert decoded["properties"]["message_id"] == "publish-1"
    assert decoded["properties"]["delivery_tag"] == "lease-1"


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
