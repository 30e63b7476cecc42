"""The emulator's switches: what the real API may do otherwise than we believe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.emulator import EmulatorProcess


class Account:
    """The account's calls, and the queue `work`."""

    def __init__(self, emulator: EmulatorProcess) -> None:
        self.client = httpx.Client(
            base_url=f"{emulator.base_url}/accounts/{emulator.account_id}",
            headers={"authorization": f"Bearer {emulator.api_token}"},
        )
        self.work = f"/queues/{self.make('work')}"
        self.post(f"{self.work}/consumers", type="http_pull")

    def make(self, name: str) -> str:
        return self.post("/queues", queue_name=name).json()["result"]["queue_id"]

    def post(self, path: str, **document: Any) -> httpx.Response:
        return self.client.post(path, json=document)

    def push(self, *bodies: str, delay: int = 0) -> httpx.Response:
        messages = [
            {"body": each, "content_type": "text", "delay_seconds": delay} for each in bodies
        ]
        return self.post(f"{self.work}/messages/batch", messages=messages)

    def pull(self, **document: int) -> dict[str, Any]:
        answer = self.post(f"{self.work}/messages/pull", **document)
        return answer.raise_for_status().json()["result"]


@pytest.fixture
def account(emulator: EmulatorProcess) -> Iterator[Account]:
    made = Account(emulator)
    yield made
    made.client.close()


def test_the_list_has_small_pages_and_tells_what_it_likes(
    emulator: EmulatorProcess, account: Account
) -> None:
    for number in range(4):
        account.make(f"other-{number}")
    told = {}
    for total in ("told", "missing", "one", "endless"):
        emulator.believe(page_size=2, total_pages=total)
        page = account.client.get("/queues?page=2&per_page=100").json()
        assert len(page["result"]) == 2
        told[total] = page["result_info"].get("total_pages")
    assert told == {"told": 3, "missing": None, "one": 1, "endless": 3}
    emulator.believe(pages_repeat=True, page_size=2)
    first, second = (account.client.get(f"/queues?page={page}").json() for page in (1, 2))
    assert first["result"] == second["result"]


def test_the_name_filter_is_obeyed_ignored_or_refused(
    emulator: EmulatorProcess, account: Account
) -> None:
    account.make("other")
    found = {}
    account.make("work-other")
    for way in ("obeyed", "ignored", "refused", "partial", "blind"):
        emulator.believe(name_filter=way)
        answer = account.client.get("/queues?name=work")
        found[way] = (answer.status_code, len(answer.json()["result"] or ()))
    assert found == {
        "obeyed": (200, 1),
        "ignored": (200, 3),
        "refused": (400, 0),
        "partial": (200, 2),
        "blind": (200, 0),
    }


def test_a_queue_takes_a_second_consumer_where_that_is_allowed(
    emulator: EmulatorProcess, account: Account
) -> None:
    assert account.post(f"{account.work}/consumers", type="http_pull").status_code == 409
    emulator.believe(several_consumers=True)
    assert account.post(f"{account.work}/consumers", type="http_pull").status_code == 200
    listed = account.client.get(f"{account.work}/consumers").json()["result"]
    assert len({each["consumer_id"] for each in listed}) == 2
    account.push("still pulled")
    assert account.client.delete(f"{account.work}/consumers/{listed[0]['consumer_id']}").is_success
    assert account.pull()["messages"]


def test_a_pull_counts_and_tells_what_the_switches_say(
    emulator: EmulatorProcess, account: Account
) -> None:
    account.push("late", delay=600)
    counts = {}
    for backlog in ("all", "ready", "zero", "missing", "stale", "text"):
        emulator.believe(backlog=backlog)
        counts[backlog] = account.pull().get("message_backlog_count")
    assert counts == {"all": 1, "ready": 0, "zero": 0, "missing": None, "stale": 0, "text": "1"}
    assert account.pull().get("message_backlog_count") == "1"
    account.push("a", "b", "c")
    emulator.believe(attempts_base=0, pull_more=True, pull_twins=True, timestamps_text=True)
    pulled = account.pull(batch_size=1)["messages"]
    assert [each["body"] for each in pulled] == ["a", "b", "a", "b"]
    assert [each["attempts"] for each in pulled] == ["0"] * 4
    emulator.believe(handles="odd")
    [odd] = account.pull()["messages"]
    lease = odd["lease_id"]
    answer = account.post(f"{account.work}/messages/ack", acks=[{"lease_id": lease}])
    assert (len(lease) > 400, answer.json()["result"]["ackCount"]) == (True, 1)
    [queue] = account.client.get("/queues?name=work").json()["result"]
    assert queue["queue_id"] not in account.work
    assert account.client.get(f"/queues/{queue['queue_id']}").is_success


def test_late_acks_long_delays_and_fixed_settings_are_refused(
    emulator: EmulatorProcess, account: Account
) -> None:
    account.push("a")
    emulator.believe(late_acks=False, delay_most=60, settings_fixed=True)
    [expired] = account.pull(visibility_timeout_ms=0)["messages"]
    acks = [{"lease_id": expired["lease_id"]}]
    result = account.post(f"{account.work}/messages/ack", acks=acks).json()["result"]
    assert (result["ackCount"], list(result["warnings"])) == (0, [expired["lease_id"]])
    emulator.believe(late_acks=False, warnings="list")
    result = account.post(f"{account.work}/messages/ack", acks=acks).json()["result"]
    assert isinstance(result["warnings"], list)
    emulator.believe(delay_most=60, settings_fixed=True)
    assert account.push("b", delay=61).status_code == 400
    changed = account.client.patch(account.work, json={"settings": {"delivery_delay": 1}})
    assert changed.status_code == 403


def test_the_rate_limits_header_takes_each_form(
    emulator: EmulatorProcess, account: Account
) -> None:
    headers = {}
    for style in ("one", "several", "text", "garbage", "missing"):
        emulator.believe(ratelimit=style)
        headers[style] = account.client.get("/queues").headers.get("ratelimit")
    assert headers["missing"] is None
    assert headers["several"].count("r=") == 3
    assert len(set(headers.values())) == 5


def test_a_call_is_refused_redirected_or_failed_as_a_rule_says(
    emulator: EmulatorProcess, account: Account
) -> None:
    seen = []
    for rule in (
        {"kind": "refused", "status": 409, "code": 11004},
        {"kind": "page", "status": 502},
        {"kind": "redirect"},
        {"kind": "failed"},
    ):
        emulator.faults({"route": "list", **rule})
        answer = account.client.get("/queues")
        seen.append((answer.status_code, answer.headers.get("content-type", "")[:9]))
    assert seen == [(409, "applicati"), (502, "text/html"), (302, ""), (200, "applicati")]


def test_a_switch_that_does_not_exist_is_refused(emulator: EmulatorProcess) -> None:
    url = emulator.base_url.removesuffix("/client/v4") + "/_emulator/beliefs"
    for wrong in ({"nothing": 1}, {"page_size": 0}, {"backlog": "some"}, {"late_acks": 1}, []):
        answer = httpx.put(url, json=wrong)
        assert answer.status_code == 400
        assert answer.json()["error"]
