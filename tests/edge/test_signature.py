"""Who may use the Worker: signatures, their clocks, their keys, and their one use."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cutmv.transports.cloudflare.edge import to_edge
from tests.support import edge_worker
from tests.support.edge_worker import KEY, OLD_KEY, Worker

pytestmark = pytest.mark.edge

ROUTE = "/v1/hub/messages"
BODY = json.dumps(
    {"messages": [{"exchange": "nowhere", "kind": "fanout", "key": "", "text": ""}]}
).encode()


def signed(body: bytes, **how: Any) -> dict[str, str]:
    return edge_worker.signed(body, to_edge("POST", ROUTE), **how)


def send(worker: Worker, headers: dict[str, str], body: bytes = BODY) -> httpx.Response:
    return worker.http.post(worker.url + ROUTE, content=body, headers=headers)


def refused(answer: httpx.Response, status: int, word: str) -> bool:
    problem = answer.json()
    assert answer.status_code == problem["status"] == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["type"] == "about:blank"
    assert KEY not in answer.text
    assert OLD_KEY not in answer.text
    assert word in problem["detail"]
    return True


@pytest.mark.parametrize("keys", [(KEY,), (OLD_KEY,), ("another", KEY)], ids=str)
def test_either_key_opens(worker: Worker, keys: tuple[str, ...]) -> None:
    assert send(worker, signed(BODY, keys=keys)).status_code == 200


def test_another_key_does_not(worker: Worker) -> None:
    assert refused(send(worker, signed(BODY, keys=("another",))), 401, "signature")


def test_a_signature_is_for_its_body_alone(worker: Worker) -> None:
    assert refused(send(worker, signed(BODY), BODY + b" "), 401, "signature")


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(worker: Worker, name: str) -> None:
    headers = signed(BODY)
    del headers[name]
    assert refused(send(worker, headers), 401, "not signed")


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_id_and_timestamp_are_signed(worker: Worker, name: str) -> None:
    headers = signed(BODY)
    headers[name] = str(int(time.time()) + 1)
    assert refused(send(worker, headers), 401, "signature")


@pytest.mark.parametrize("stamp", ["", "-1", "1e9", "now", "9" * 400])
def test_a_timestamp_is_digits(worker: Worker, stamp: str) -> None:
    headers = signed(BODY) | {"webhook-timestamp": stamp}
    assert refused(send(worker, headers), 401, "not signed")


@pytest.mark.parametrize("given", ["v1", "v1,", "v2,AAAA", "v1,!!!", "v1," + "A" * 44, ","])
def test_what_is_no_signature_opens_nothing(worker: Worker, given: str) -> None:
    headers = signed(BODY) | {"webhook-signature": given}
    assert refused(send(worker, headers), 401, "signature")


@pytest.mark.parametrize(("off", "status"), [(-310, 401), (310, 401), (-290, 200), (290, 200)])
def test_clocks_may_differ_by_five_minutes(worker: Worker, off: int, status: int) -> None:
    answer = send(worker, signed(BODY, at=time.time() + off))
    assert answer.status_code == status
    assert status == 200 or refused(answer, 401, "clocks")


def test_a_request_is_taken_once(worker: Worker) -> None:
    headers = signed(BODY)
    assert send(worker, headers).status_code == 200
    assert refused(send(worker, headers), 409, "before")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", f"{ROUTE}?scope=other"),
        ("POST", "/v1/queues/edge-publish/messages"),
        ("POST", "/v1/ledger/read"),
        ("GET", "/v1/hub?client=a"),
    ],
)
def test_a_signature_opens_no_other_route_query_or_method(
    worker: Worker, method: str, target: str
) -> None:
    answer = worker.http.request(method, worker.url + target, content=BODY, headers=signed(BODY))
    assert refused(answer, 401, "another request")


def test_a_signature_of_the_other_direction_opens_nothing(worker: Worker) -> None:
    purpose = dataclasses.replace(to_edge("POST", ROUTE), receiver="push server")
    assert refused(send(worker, edge_worker.signed(BODY, purpose)), 401, "another request")


def test_a_refused_signature_does_not_use_up_its_id(worker: Worker) -> None:
    headers = signed(BODY)
    assert send(worker, headers | {"webhook-signature": "v1," + "A" * 43 + "="}).status_code == 401
    assert send(worker, headers).status_code == 200


def test_the_signature_of_one_hub_address_opens_no_other(worker: Worker) -> None:
    headers = edge_worker.signed(b"", to_edge("GET", "/v1/hub?client=a"))
    for target in ("/v1/hub?client=b", "/v1/hub?client=a&scope=x", "/v1/hub"):
        assert refused(worker.http.get(worker.url + target, headers=headers), 401, "signature")


@pytest.mark.parametrize(
    "phrase",
    ["correct horse, battery", pytest.param(f"{KEY} horse", marks=pytest.mark.slow)],
)
def test_a_passphrase_is_one_key(make_worker: Callable[..., Worker], phrase: str) -> None:
    worker = make_worker(EDGE_KEYS=phrase)
    assert send(worker, signed(BODY, keys=(phrase,))).status_code == 200
    for word in phrase.replace(",", "").split():
        assert refused(send(worker, signed(BODY, keys=(word,))), 401, "signature")


def test_without_keys_nothing_is_open(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(EDGE_KEYS=" , ")
    headers = signed(BODY, keys=("",))
    assert refused(send(worker, headers), 503, "EDGE_KEYS")
    publish = worker.http.post(
        worker.url + "/v1/queues/cutmv-processing/messages", content=BODY, headers=headers
    )
    assert refused(publish, 503, "EDGE_KEYS")
    assert refused(worker.http.get(worker.url + "/v1/hub?client=a"), 503, "EDGE_KEYS")
    assert worker.http.get(worker.url + "/healthz").status_code == 200


@pytest.mark.slow
def test_a_replay_is_known_after_a_restart(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker()
    headers = signed(BODY)
    assert send(worker, headers).status_code == 200
    worker.stop()
    worker.start()
    assert refused(send(worker, headers), 409, "before")
    assert send(worker, signed(BODY)).status_code == 200
