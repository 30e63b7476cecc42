"""The routes: what they take, and how they refuse what they don't."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

import cutmv
from cutmv.transports.cloudflare.edge import to_edge
from tests.edge.test_signature import refused
from tests.support.edge_ingress import Ingress
from tests.support.edge_worker import Worker, signed

pytestmark = pytest.mark.edge

ROUTE = "/v1/queues/edge-publish/messages"


def test_health_is_for_everybody(worker: Worker) -> None:
    answer = httpx.get(worker.url + "/healthz")
    assert answer.json() == {"ok": True, "version": cutmv.__version__}


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/queues//messages", "/v1/queues/Not_A_Name/messages", "/v1/hub/"]
)
def test_an_unknown_route(worker: Worker, path: str) -> None:
    assert refused(worker.post(path, {}), 404, "route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", "GET"),
        ("GET", ROUTE, "POST"),
        ("PUT", "/v1/hub", "GET"),
        ("GET", "/v1/hub/messages", "POST"),
    ],
)
def test_a_method_that_a_route_does_not_take(
    worker: Worker, method: str, path: str, allowed: str
) -> None:
    answer = worker.http.request(method, worker.url + path)
    assert refused(answer, 405, allowed)
    assert answer.headers["allow"] == allowed


def test_an_unknown_queue_is_told_how_to_be_added(worker: Worker) -> None:
    answer = worker.post("/v1/queues/my-queue/messages", {"messages": [{"body": "x"}]})
    assert refused(answer, 404, "QUEUE_MY_QUEUE")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"messages": [}'])
def test_what_is_not_json(worker: Worker, body: bytes) -> None:
    assert refused(worker.post(ROUTE, body), 400, "JSON")


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "object"),
        (None, "object"),
        ({}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"body": "x"}] * 101}, "messages"),
        ({"messages": ["x"]}, "object"),
        ({"messages": [{}]}, "body"),
        ({"messages": [{"body": 1}]}, "body"),
        ({"messages": [{"body": "a\0b"}]}, "NUL"),
        ({"messages": [{"body": "x", "delay_seconds": -1}]}, "delay_seconds"),
        ({"messages": [{"body": "x", "delay_seconds": 43_201}]}, "delay_seconds"),
        ({"messages": [{"body": "x", "delay_seconds": 1.5}]}, "delay_seconds"),
        ({"messages": [{"body": "x", "delay_seconds": "1"}]}, "delay_seconds"),
    ],
    ids=str,
)
def test_what_has_another_shape(worker: Worker, document: Any, word: str) -> None:
    assert refused(worker.post(ROUTE, document), 400, word)


def test_one_bad_message_keeps_back_its_whole_batch(worker: Worker, ingress: Ingress) -> None:
    assert worker.post(ROUTE, {"messages": [{"body": "no"}, {}]}).status_code == 400
    worker.publish("edge-publish", "yes")
    delivery = ingress.next("edge-publish")
    delivery.ack_all()
    assert delivery.bodies == ["yes"]


def test_messages_may_be_as_large_as_cloudflare_has_them(worker: Worker, ingress: Ingress) -> None:
    # 100 bytes of each are Cloudflare's.
    largest = ["é" * 63_950, "b" * 127_900]
    answer = worker.post(ROUTE, {"messages": [{"body": body} for body in largest]})
    assert answer.json() == {"accepted": 2}
    for _ in largest:
        delivery = ingress.next("edge-publish")
        delivery.ack_all()
        assert delivery.bodies[0] in largest


def test_messages_that_are_too_large(worker: Worker) -> None:
    for messages in ([{"body": "a" * 127_901}], [{"body": "a" * 85_300}] * 3):
        assert refused(worker.post(ROUTE, {"messages": messages}), 413, "at most")


def answered(post: Callable[[], httpx.Response]) -> httpx.Response:
    """The Worker's answer, which `wrangler dev` may lose that reads no body to its end."""
    for _ in range(5):
        answer = post()
        if "Network connection lost" not in answer.text:
            break
    return answer


def test_a_body_that_is_too_large_is_not_read(worker: Worker) -> None:
    body = b'{"messages": [' + b" " * 1_100_000
    assert refused(answered(lambda: worker.post(ROUTE, body)), 413, "larger than")


def test_a_body_of_unknown_length_is_counted(worker: Worker) -> None:
    def post() -> httpx.Response:
        chunks = iter([b" " * 65_536] * 17)  # one more than is read
        headers = signed(b"", to_edge("POST", ROUTE))
        return worker.http.post(worker.url + ROUTE, content=chunks, headers=headers)

    assert refused(answered(post), 413, "larger than")
