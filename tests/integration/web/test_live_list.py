"""The list of jobs and one job in detail over one real WebSocket of a real server."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
import simple_websocket

from cutmv.config import Settings
from cutmv.services import Services
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server
from tests.support.websocket import Client

#: Seconds for what a server does on a busy machine.
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("web"), CUTMV_SIGN_IN="always") as running:
        yield running


@pytest.fixture(scope="module")
def services(server: WebServer) -> Iterator[Services]:
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
    services = Services.open(Settings.from_env(env))
    yield services
    services.store.close()


class Person:
    """Somebody who has signed in, by an API key, and has a video."""

    def __init__(self, server: WebServer, services: Services, name: str, video: bytes) -> None:
        self.server = server
        self.tabs: list[Tab] = []
        self.id = str(services.accounts.add(f"{name}@example.com").id)
        _, secret = services.api_keys.add(self.id, "a test's")
        self.headers = {"Authorization": f"Bearer {secret}"}
        self.http = httpx.Client(base_url=server.url, headers=self.headers, timeout=PATIENCE_S)
        sent = self.http.post(f"/api/uploads?filename={name}.mp4", content=video)
        self.upload_id = sent.json()["id"]

    def submit(self, *clips: str) -> str:
        wanted = {"upload_id": self.upload_id, "clips": clips or ["0-1"], "aspects": ["9:16"]}
        return str(self.http.post("/api/jobs", json=wanted).json()["id"])

    def tab(self, **query: str) -> Tab:
        self.tabs.append(Tab(self, query))
        return self.tabs[-1]

    def close_tabs(self) -> None:
        for tab in self.tabs:
            with suppress(simple_websocket.ConnectionClosed):
                tab.client.close()
        self.tabs.clear()


class Tab:
    """One page's WebSocket, and what it has been told."""

    def __init__(self, person: Person, query: dict[str, str]) -> None:
        address = f"{person.server.url.replace('http', 'ws')}/ws/jobs?{httpx.QueryParams(query)}"
        self.client = Client(address, headers=person.headers)
        self.told: list[dict[str, Any]] = []
        self.read_until(lambda message: message["type"] == "hello")
        self.epoch = self.told[0]["epoch"]

    def read_until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read to the message that is wanted; returns it."""
        while True:
            text = self.client.receive(timeout=PATIENCE_S)
            assert text is not None, "the socket fell silent"
            message = json.loads(text)
            if message["type"] == "ping":
                continue
            self.told.append(message)
            if is_it(message):
                return dict(message)

    def read_to_end_of(self, job_id: str) -> dict[str, Any]:
        """Read until a job has ended; returns its last summary."""
        return self.read_until(
            lambda message: (
                message["type"] == "job"
                and message["job"]["id"] == job_id
                and message["job"]["state"] in ("done", "failed", "cancelled")
            )
        )["job"]

    def drop(self) -> None:
        """Break the line."""
        self.client.sock.shutdown(socket.SHUT_RDWR)

    @property
    def seq(self) -> int:
        return int(self.told[-1]["seq"])


@pytest.fixture(scope="module")
def people(
    server: WebServer, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Person]]:
    folder = tmp_path_factory.mktemp("video")
    video = make_sample(folder / "v.mp4", seconds=4.0, size=(320, 180)).read_bytes()
    people = {name: Person(server, services, name, video) for name in ("ann", "bob")}
    yield people
    for person in people.values():
        person.http.close()


@pytest.fixture
def ann(people: dict[str, Person]) -> Iterator[Person]:
    yield people["ann"]
    people["ann"].close_tabs()


@pytest.fixture
def bob(people: dict[str, Person]) -> Iterator[Person]:
    yield people["bob"]
    people["bob"].close_tabs()


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages]


@pytest.mark.slow
def test_a_job_is_followed_from_its_beginning_in_two_tabs_that_agree(ann: Person) -> None:
    lists = ann.tab()
    job_id = ann.submit("0-4", "0-3")
    one, two = ann.tab(watch=job_id), ann.tab(watch=job_id)

    ended = [tab.read_to_end_of(job_id) for tab in (one, two, lists)]

    assert [each["state"] for each in ended] == ["done"] * 3, ended[0]["error"]
    assert ended[0]["outputs"] == {"done": 2, "all": 2}
    for tab in (one, two):
        snapshot = next(each for each in tab.told if each["type"] == "snapshot")
        assert snapshot["job"]["id"] == job_id
        events = [each for each in tab.told if each["type"] in ("job", "step", "progress")]
        assert numbers(events) == sorted(set(numbers(events)))
        assert {each["type"] for each in events} == {"job", "step", "progress"}
        for step in snapshot["job"]["steps"]:
            percents = [e["percent"] for e in events if e.get("step_id") == step["id"]]
            assert percents == sorted(percents)
    known = {each["seq"]: each for each in one.told if each["type"] in ("job", "step", "progress")}
    both = [each for each in two.told if each["seq"] in known and each["type"] != "jobs"]
    shared = [each for each in both if each["type"] in ("job", "step", "progress")]
    assert shared == [known[each["seq"]] for each in shared]
    assert len(shared) >= 4
    assert {each["type"] for each in lists.told} == {"hello", "jobs", "job"}


@pytest.mark.slow
def test_who_comes_back_goes_on_after_the_last_number(ann: Person) -> None:
    job_id = ann.submit("0-4", "0-4", "0-4")
    stayed, left = ann.tab(watch=job_id), ann.tab(watch=job_id)
    left.read_until(lambda message: message["type"] in ("job", "step", "progress"))
    left.drop()
    stayed.read_until(lambda message: message["seq"] > left.seq + 3)

    back = ann.tab(watch=job_id, epoch=left.epoch, seq=str(left.seq))
    back.read_to_end_of(job_id)
    stayed.read_to_end_of(job_id)

    assert back.told[0]["resumed"]
    assert "snapshot" not in [each["type"] for each in back.told]
    missed = [each for each in stayed.told if each["seq"] > left.seq]
    assert [each for each in back.told[1:] if each["seq"] <= missed[-1]["seq"]] == missed


def test_who_was_with_another_server_begins_anew(ann: Person) -> None:
    tab = ann.tab(epoch="another", seq="7")
    tab.read_until(lambda message: message["type"] == "jobs")

    assert not tab.told[0]["resumed"]


def test_people_are_told_of_their_own_jobs_alone(ann: Person, bob: Person) -> None:
    of_bob = bob.submit("0-2")
    tab = ann.tab(watch=of_bob)
    gone = tab.read_until(lambda message: message["type"] == "deleted")
    tab.client.send(json.dumps({"watch": of_bob}))
    of_ann = ann.submit("0-1")
    tab.read_to_end_of(of_ann)

    assert gone["job_id"] == of_bob
    told = json.dumps([each for each in tab.told if each != gone])
    assert of_bob not in told and bob.upload_id not in told and "bob" not in told


@pytest.mark.slow
def test_a_page_turns_to_another_job_on_the_same_socket(ann: Person) -> None:
    first, second = ann.submit("0-1"), ann.submit("0-4")
    tab = ann.tab(watch=first)
    tab.read_until(lambda message: message["type"] == "snapshot")

    tab.client.send(json.dumps({"watch": second}))
    turned = tab.read_until(lambda message: message["type"] == "snapshot")
    tab.client.send("no JSON")
    tab.client.send(json.dumps({"watch": 5}))
    tab.client.send(json.dumps({"watch": None}))
    tab.read_to_end_of(second)

    assert turned["job"]["id"] == second


def test_a_job_that_another_tab_deletes_goes_from_the_list(ann: Person) -> None:
    job_id = ann.submit("0-0.2")
    tab = ann.tab()
    wait_for(
        lambda: ann.http.get(f"/api/jobs/{job_id}").json()["state"] == "done", 60.0, "the job ends"
    )

    assert ann.http.delete(f"/api/jobs/{job_id}").status_code == 204

    gone = tab.read_until(lambda message: message["type"] == "deleted")
    assert gone["job_id"] == job_id


def test_it_ends_with_the_session_and_nobody_opens_it(
    server: WebServer, services: Services, bob: Person
) -> None:
    with pytest.raises(simple_websocket.ConnectionError) as refused:
        Client(f"{server.url.replace('http', 'ws')}/ws/jobs")
    assert refused.value.status_code == 401
    tab = bob.tab()
    services.accounts.disable(bob.id)

    with pytest.raises(simple_websocket.ConnectionClosed) as closed:
        tab.read_until(lambda _message: False)
    assert closed.value.reason == 4401
    services.accounts.enable(bob.id)


@pytest.mark.slow
def test_many_idle_sockets_take_little_memory(server: WebServer, ann: Person) -> None:
    worker = psutil.Process(server.process.child.pid).children()[0]
    before = worker.memory_info().rss
    tabs = [ann.tab() for _ in range(30)]
    job_id = ann.submit("0-4", "0-4", "0-4")
    for tab in tabs[:3]:
        tab.read_to_end_of(job_id)

    grown = worker.memory_info().rss - before
    assert grown < 60_000_000, f"{grown / 30 / 1e6:.2f} MB a socket"
