"""Messages that no Celery has published, as messages of a task."""

import base64
import json
from typing import Any

import pytest
from celery.utils.saferepr import saferepr
from kombu.utils import json as kombu_json

from cutmv.transports.cloudflare.consumer import foreign
from cutmv.transports.cloudflare.messages import envelope, poison

EVENT = {"action": "PutObject", "object": {"key": 'a"b/é.mp4', "size": 3}}


def _pulled(body: bytes | str, kind: str, **more: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else base64.b64encode(body).decode()
    told = {"id": "m1", "body": text, "attempts": 1, "lease_id": "lease-1"}
    return {**told, "metadata": {"CF-Content-Type": kind}, **more}


def _task(pulled: dict[str, Any]) -> dict[str, Any]:
    message = envelope.decode(foreign.adopted("app.on_event", "events", pulled))
    poison.check(message)
    poison.check_task(message["headers"], kombu_json.loads(message["body"]))
    return message


@pytest.mark.parametrize(
    ("body", "kind", "argument"),
    [
        (json.dumps(EVENT).encode(), "json", EVENT),
        (b"null", "json", None),
        (b"[1, 2.50]", "json", [1, 2.5]),
        ('{"a": 1}', "text", '{"a": 1}'),
        ("", "text", ""),
        (b"\xff\x00", "bytes", b"\xff\x00"),
        ("é".encode(), "bytes", "é".encode()),
    ],
)
def test_a_document_is_the_one_argument_of_the_task(body: Any, kind: str, argument: Any) -> None:
    message = _task(_pulled(body, kind))

    args, kwargs, _embedded = kombu_json.loads(message["body"])
    assert (args, kwargs) == ([argument], {})
    assert message["headers"]["task"] == "app.on_event"
    assert message["headers"]["argsrepr"] == saferepr((argument,))


def test_copies_of_one_message_are_one_task_and_other_messages_others() -> None:
    first = _task(_pulled("a", "text"))
    again = _task(_pulled("a", "text", attempts=2, lease_id="lease-2"))
    other = _task(_pulled("a", "text", id="m2"))

    ids = [each["headers"]["id"] for each in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]
    assert envelope.identity("events", {"id": "x"}, first) == f"events/{ids[0]}"


def test_a_message_of_kombu_s_stays_one_whatever_its_type() -> None:
    text = envelope.encode({"body": "[]", "headers": {"task": "t"}, "properties": {}, "id": "i"})
    for pulled in (_pulled(text, "text"), _pulled(text.encode(), "json")):
        assert foreign.adopted("app.on_event", "events", pulled) is pulled


def test_a_document_with_a_body_of_its_own_is_no_message_of_kombu_s() -> None:
    mail = {"body": "Hello", "subject": "Hi"}

    message = _task(_pulled(json.dumps(mail).encode(), "json"))

    assert kombu_json.loads(message["body"])[0] == [mail]


@pytest.mark.parametrize(
    ("body", "kind"), [("AAAA", "v8"), ("no base64!", "json"), (b"{", "json"), (b"\xff", "json")]
)
def test_what_has_no_document_stays_what_it_is(body: Any, kind: str) -> None:
    pulled = _pulled(body, kind)

    assert foreign.adopted("app.on_event", "events", pulled) is pulled


def test_what_nests_too_deep_is_refused_and_holds_up_nobody() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000

    pulled = foreign.adopted("app.on_event", "events", _pulled(deep, "json"))

    with pytest.raises(envelope.Undecodable):
        envelope.decode(pulled)
