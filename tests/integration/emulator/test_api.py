"""The emulator over plain HTTP: what the SDK does not show, and how the process lives and dies."""

from __future__ import annotations

import asyncio
import base64
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.emulator import EmulatorProcess
from tests.support.processes import wait_for


class Api:
    """The account's calls, and the queue `work`, in few words."""

    def __init__(self, emulator: EmulatorProcess, queue: bool = True) -> None:
        self.emulator = emulator
        self.client = httpx.Client(
            base_url=f"{emulator.base_url}/accounts/{emulator.account_id}",
            headers={"authorization": f"Bearer {emulator.api_token}"},
            timeout=20,
        )
        self.queue = self._make_queue() if queue else ""

    def _make_queue(self) -> str:
        made = self.client.post("/queues", json={"queue_name": "work"}).json()
        queue = f"/queues/{made['result']['queue_id']}"
        self.client.post(f"{queue}/consumers", json={"type": "http_pull"})
        return queue

    def push(self, body: str) -> httpx.Response:
        document = {"body": body, "content_type": "text"}
        return self.client.post(f"{self.queue}/messages", json=document)

    def pull(self, **body: int) -> list[dict[str, Any]]:
        document = {"batch_size": 100, **body}
        answer = self.client.post(f"{self.queue}/messages/pull", json=document)
        return answer.raise_for_status().json()["result"]["messages"]

    def bodies(self) -> list[str]:
        return [each["body"] for each in self.pull()]

    def ack(self, *messages: dict[str, Any]) -> dict[str, Any]:
        acks = [{"lease_id": each["lease_id"]} for each in messages]
        answer = self.client.post(f"{self.queue}/messages/ack", json={"acks": acks})
        return answer.raise_for_status().json()["result"]


@pytest.fixture
def make_api() -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(emulator: EmulatorProcess, **options: Any) -> Api:
        made.append(Api(emulator, **options))
        return made[-1]

    yield make
    for api in made:
        api.client.close()


@pytest.fixture
def api(emulator: EmulatorProcess, make_api: Callable[..., Api]) -> Api:
    return make_api(emulator)


def code_of(answer: httpx.Response) -> tuple[int, int]:
    """The status of a refused call, and the code in its envelope."""
    document = answer.json()
    assert (document["success"], document["result"], document["messages"]) == (False, None, [])
    [error] = document["errors"]
    assert error["message"]
    return answer.status_code, error["code"]


def faults_url(api: Api) -> str:
    return api.emulator.base_url.removesuffix("/client/v4") + "/_emulator/faults"


def rules(api: Api) -> list[dict[str, Any]]:
    """The fault rules in force."""
    return httpx.get(faults_url(api)).json()


# --- who may call


def test_a_call_without_the_right_token_is_refused(api: Api) -> None:
    for given in ("", "Bearer", "Bearer wrong\u00e9", "emulator-token", "Basic emulator-token"):
        headers = {"authorization": given.encode()}
        answer = httpx.get(f"{api.client.base_url}queues", headers=headers)
        assert code_of(answer) == (401, 10000)


def test_a_call_for_another_account_is_refused(api: Api) -> None:
    url = f"{api.emulator.base_url}/accounts/{'f' * 32}/queues"
    assert code_of(api.client.get(url)) == (403, 9109)


def test_a_read_only_token_may_look_and_not_change(api: Api) -> None:
    reader = {"authorization": f"Bearer {api.emulator.read_only_token}"}

    assert api.client.get(f"{api.queue}/metrics", headers=reader).status_code == 200
    for method, path in (("POST", "/queues"), ("POST", f"{api.queue}/messages/pull")):
        assert code_of(api.client.request(method, path, headers=reader)) == (403, 10000)
    assert code_of(api.client.delete(api.queue, headers=reader)) == (403, 10000)
    assert api.client.get("/queues").json()["result_info"]["total_count"] == 1


# --- errors and paging


def test_each_wrong_call_has_its_status_and_code(api: Api) -> None:
    client, queue, none = api.client, api.queue, f"/queues/{'0' * 32}"
    messages = f"{queue}/messages"
    bare = client.post("/queues", json={"queue_name": "bare"}).json()["result"]["queue_id"]
    big = {"body": "x" * 128_000, "content_type": "text"}
    medium = {"body": "x" * 100_000, "content_type": "text"}
    assert code_of(client.get(none)) == (404, 10104)
    assert code_of(client.post(f"{none}/messages", json=medium)) == (404, 10104)
    assert code_of(client.post(f"{none}/messages/pull", json={})) == (404, 10104)
    assert code_of(client.post(f"{none}/messages/ack", json={})) == (404, 10104)
    assert code_of(client.delete(none)) == (404, 10104)
    assert code_of(client.get("/queues/work")) == (400, 10107)
    assert code_of(client.post("/queues", json={"queue_name": "No!"})) == (400, 11003)
    assert code_of(client.post("/queues", json={"queue_name": "work"})) == (409, 11009)
    assert code_of(client.patch(queue, json={"queue_name": "bare"})) == (409, 11009)
    assert code_of(client.post(f"{queue}/consumers", json={"type": "http_pull"})) == (409, 11004)
    assert code_of(client.get(f"{queue}/consumers/none"))[0] == 404
    assert code_of(client.post(f"/queues/{bare}/messages/pull", json={}))[0] == 405
    assert code_of(client.post(messages, content=b"{")) == (400, 10208)
    assert code_of(client.post(messages, json={"body": "a", "content_type": "v8"})) == (400, 10203)
    assert code_of(client.post(messages, json=big)) == (400, 10204)
    assert code_of(client.post(f"{messages}/batch", json={"messages": [medium] * 3})) == (
        400,
        10205,
    )
    assert code_of(client.post(f"{messages}/batch", json={"messages": []})) == (400, 10206)
    assert code_of(client.post(f"{messages}/pull", json={"batch_size": 101})) == (400, 10207)
    assert code_of(client.post(f"{queue}/purge", json={})) == (400, 10207)
    assert code_of(client.delete("/queues")) == (405, 7001)
    assert code_of(client.get("/nothing/here")) == (404, 7000)
    assert api.bodies() == []


def test_a_batch_is_pushed_whole_or_not_at_all(api: Api) -> None:
    good, bad = {"body": "a", "content_type": "text"}, {"body": 1, "content_type": "text"}
    batch = f"{api.queue}/messages/batch"
    assert code_of(api.client.post(batch, json={"messages": [good, bad]})) == (400, 10207)
    assert api.bodies() == []


def test_a_long_list_of_queues_comes_in_pages(api: Api) -> None:
    for n in range(6):
        api.client.post("/queues", json={"queue_name": f"q{n}"})
    seen = []
    for page in (1, 2, 3, 4):
        answer = api.client.get("/queues", params={"page": page, "per_page": 3}).json()
        seen.append([each["queue_name"] for each in answer["result"]])
        info = answer["result_info"]
        assert info == {
            "count": len(seen[-1]),
            "page": page,
            "per_page": 3,
            "total_count": 7,
            "total_pages": 3,
        }
    assert [len(names) for names in seen] == [3, 3, 1, 0]
    assert sorted(chain.from_iterable(seen)) == ["q0", "q1", "q2", "q3", "q4", "q5", "work"]
    named = api.client.get("/queues", params={"name": ["q1", "q4", "none"]}).json()
    assert [each["queue_name"] for each in named["result"]] == ["q1", "q4"]


def test_bytes_of_a_workers_producer_come_in_base64(api: Api) -> None:
    produce = api.emulator.base_url.removesuffix("/client/v4") + "/_emulator/produce"
    query = {"queue": "work", "content_type": "bytes"}
    assert httpx.post(produce, params=query, content=b"\x00\xff").status_code == 204
    [message] = api.pull()
    assert message["metadata"] == {"CF-Content-Type": "bytes"}
    assert base64.b64decode(message["body"]) == b"\x00\xff"
    assert httpx.post(produce, params={"queue": "none"}, content=b"a").status_code == 400


# --- how it lives and dies


def test_every_answered_push_survives_kill_9(api: Api) -> None:
    def push_until_dead(writer: int) -> list[str]:
        answered = []
        for n in range(100_000):
            body = f"{writer}-{n}"
            try:
                api.push(body).raise_for_status()
            except httpx.TransportError:
                return answered
            answered.append(body)
            if writer == 0 and n == 50:
                api.emulator.kill()
        return answered

    api.emulator.stop()
    api.emulator.rate_limit = False
    api.emulator.start()
    with ThreadPoolExecutor(8) as writers:
        answered = list(chain.from_iterable(writers.map(push_until_dead, range(8))))
    assert len(answered) > 50

    api.emulator.start()
    kept: list[str] = []
    while bodies := api.bodies():
        kept += bodies
    # One push of each writer may have been committed and its answer lost.
    assert set(answered) <= set(kept)
    assert len(kept) <= len(answered) + 8
    assert len(kept) == len(set(kept))


def test_leases_survive_a_restart(api: Api) -> None:
    api.push("a")
    api.push("b")
    [leased] = api.pull(batch_size=1)
    api.emulator.stop()
    api.emulator.start()
    assert api.bodies() == ["b"]
    assert api.ack(leased)["ackCount"] == 1


def test_sigterm_ends_it_even_while_a_call_hangs(api: Api) -> None:
    api.emulator.faults({"route": "publish", "kind": "hang"})
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(api.push, "a")
        wait_for(lambda: rules(api)[0]["fired"] == 1)
        api.emulator.stop()
        with pytest.raises(httpx.TransportError):
            call.result()


def test_two_emulators_do_not_share_a_file(emulator: EmulatorProcess) -> None:
    second = run_emulator(f"--db={emulator.db}")
    assert second.returncode == 1
    assert "is another emulator running on it?" in second.stderr


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        second = run_emulator(f"--port={port}", f"--db={tmp_path / 'db'}")
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"can't listen on 127.0.0.1:{port}" in second.stderr


def run_emulator(*options: str) -> subprocess.CompletedProcess[str]:
    """Run it where it is expected to end by itself."""
    command = [sys.executable, "-m", "cutmv.emulator", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


# --- the rate limit


def test_past_1200_calls_even_pulls_are_refused(
    make_emulator: Callable[..., EmulatorProcess], make_api: Callable[..., Api]
) -> None:
    api = make_api(make_emulator(), queue=False)
    answer = api.client.get("/queues")
    assert answer.headers["ratelimit"].startswith('"default";r=1199;t=')
    assert answer.headers["ratelimit-policy"] == '"default";q=1200;w=300'
    pull = f"/queues/{'0' * 32}/messages/pull"
    for _ in range(1199):
        assert api.client.get("/queues").status_code == 200
    assert api.client.post(pull, json={}).status_code == 404

    refused = api.client.get("/queues")
    assert code_of(refused)[0] == 429
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
    assert api.client.post(pull, json={}).status_code == 429
    stats = api.emulator.stats()
    assert stats["refused"] == 2
    assert stats["calls"]["list"] == {"200": 1200, "429": 1}

    api.emulator.reset()
    assert api.client.get("/queues").status_code == 200


def test_without_the_limit_nothing_is_said_of_one(
    make_emulator: Callable[..., EmulatorProcess], make_api: Callable[..., Api]
) -> None:
    api = make_api(make_emulator(rate_limit=False), queue=False)
    assert "ratelimit" not in api.client.get("/queues").headers


# --- faults


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("429", 429, 10250), ("500", 500, 15000), ("503", 503, 15000)]
)
def test_a_refusal_comes_before_the_work(api: Api, kind: str, status: int, code: int) -> None:
    api.emulator.faults({"route": "publish", "kind": kind, "count": 1, "retry_after": 7})
    answer = api.push("refused")
    assert code_of(answer) == (status, code)
    assert answer.headers.get("retry-after") == ("7" if kind == "429" else None)
    assert api.push("taken").status_code == 200
    assert api.bodies() == ["taken"]


@pytest.mark.parametrize(("kind", "kept"), [("drop_before", []), ("drop_after", ["a"])])
def test_a_dropped_connection_is_cut_before_or_after_the_work(
    api: Api, kind: str, kept: list[str]
) -> None:
    api.emulator.faults({"route": "publish", "kind": kind, "count": 1})
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        api.push("a")
    assert api.bodies() == kept
    assert api.emulator.stats()["calls"]["publish"] == {kind: 1}


def test_garbage_is_answered_after_the_work(api: Api) -> None:
    api.emulator.faults({"route": "publish", "kind": "garbage", "count": 1})
    answer = api.push("a")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert api.bodies() == ["a"]


def test_json_of_another_shape_is_answered_after_the_work(api: Api) -> None:
    api.emulator.faults({"route": "publish", "kind": "misshapen", "count": 1})
    answer = api.push("a")
    assert answer.status_code == 200
    assert answer.json()["success"] is True
    assert not isinstance(answer.json()["result"], dict), "a publish answers an object"
    assert api.bodies() == ["a"]


@pytest.mark.parametrize(("kind", "kept"), [("hang", []), ("hang_after", ["a"])])
def test_a_call_hangs_before_or_after_the_work_and_keeps_no_one_else_waiting(
    api: Api, kind: str, kept: list[str]
) -> None:
    api.emulator.faults({"route": "publish", "kind": kind, "count": 1})
    document = {"body": "a", "content_type": "text"}
    with pytest.raises(httpx.ReadTimeout):
        api.client.post(f"{api.queue}/messages", json=document, timeout=0.2)
    wait_for(lambda: api.emulator.stats()["calls"]["publish"] == {kind: 1})
    assert api.bodies() == kept


def test_a_duplicated_message_is_delivered_beside_its_lease_and_after_its_ack(api: Api) -> None:
    for body in ("a", "b"):
        api.push(body)
    api.emulator.faults({"route": "pull", "kind": "duplicate"})
    first = api.pull()
    assert api.ack(*first)["ackCount"] == 2
    second = api.pull()
    assert [each["id"] for each in second] == [each["id"] for each in first]
    assert [each["attempts"] for each in second] == [1, 1]
    assert api.ack(*second)["ackCount"] == 2
    assert api.pull() == []
    stats = api.emulator.stats()
    assert (stats["published"], stats["deliveries"], stats["duplicates"]) == (2, 4, 2)
    assert (stats["acked"], stats["messages"]) == (4, {"work": 0})


def test_a_reordered_pull_delivers_every_message_in_another_order(api: Api) -> None:
    messages = [{"body": f"{n:02}", "content_type": "text"} for n in range(40)]
    api.client.post(f"{api.queue}/messages/batch", json={"messages": messages})
    api.emulator.faults({"route": "pull", "kind": "reorder", "seed": 1})
    bodies = api.bodies()
    assert bodies != sorted(bodies)
    assert sorted(bodies) == [f"{n:02}" for n in range(40)]


def test_latency_is_added_to_each_call_and_shared_by_none(
    make_emulator: Callable[..., EmulatorProcess],
) -> None:
    """In turn, these calls would take 25 seconds: far more than the deadline they all meet."""
    emulator = make_emulator(latency_ms=500)

    async def call_all() -> list[float]:
        headers = {"authorization": f"Bearer {emulator.api_token}"}
        url = f"{emulator.base_url}/accounts/{emulator.account_id}/queues"
        async with httpx.AsyncClient(headers=headers, timeout=20) as client:
            async with asyncio.timeout(15):
                answers = await asyncio.gather(*(client.get(url) for _ in range(50)))
        return [answer.elapsed.total_seconds() for answer in answers]

    assert min(asyncio.run(call_all())) >= 0.5


def test_faults_are_shown_with_how_often_they_fired_and_cleared(api: Api) -> None:
    api.emulator.faults({"route": "publish", "kind": "500", "count": 1})
    api.push("a")
    [shown] = rules(api)
    assert (shown["kind"], shown["fired"]) == ("500", 1)
    api.emulator.clear_faults()
    assert rules(api) == []
    refused = httpx.put(faults_url(api), json=[{"kind": "tea"}])
    assert (refused.status_code, "there is no fault" in refused.json()["error"]) == (400, True)


def test_stats_tell_the_leases_that_are_outstanding(api: Api) -> None:
    for body in ("a", "b", "c"):
        api.push(body)
    leased = api.pull(batch_size=2)
    api.ack(leased[0])
    stats = api.emulator.stats()
    assert (stats["leases_outstanding"], stats["messages"]) == (1, {"work": 2})
    assert (stats["deliveries"], stats["redeliveries"], stats["refused"]) == (2, 0, 0)


def test_operations_are_billed_by_64_kb_and_an_empty_pull_is_a_read(api: Api) -> None:
    def billed() -> tuple[int, int, int]:
        counts = api.emulator.stats()["billed"]
        return counts["writes"], counts["reads"], counts["deletes"]

    api.push("small")
    api.push("x" * 63_901)
    assert billed() == (1 + 2, 0, 0)
    small, large = api.pull()
    assert billed() == (3, 3, 0)
    assert api.pull() == []
    assert billed() == (3, 4, 0)
    api.ack(small)
    assert billed() == (3, 4, 1)
    api.ack(large, small)
    assert billed() == (3, 4, 3)
