"""How much one person may have, as the HTTP API says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cutmv.config import Settings
from cutmv.dispatch import janitor
from cutmv.people import Person
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.auth.credentials import Credential
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.stack import Stack

#: A job of one output that is soon made.
STILL = {"aspects": [], "still": True}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    return make_sample(folder / "song.mp4", seconds=1.0, size=(160, 90))


class Site:
    """An application of some limits, where people sign in."""

    def __init__(self, folder: Path, **env: str) -> None:
        env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(folder), **env}
        self.services = Services.open(Settings.from_env(env))
        self.app = create_app(self.services, start_background=True)

    def add(self, name: str, *, is_admin: bool = False) -> Person:
        return self.services.accounts.add(f"{name}@example.com", is_admin=is_admin)

    def client(self, person: Person) -> FlaskClient:
        """A browser in which a person has signed in."""
        client = self.app.test_client()
        token = self.services.sessions.begin(str(person.id))
        client.set_cookie("cutmv", token)
        client.environ_base["HTTP_X_CSRF_TOKEN"] = Credential("session", token).csrf_token
        return client

    def close(self) -> None:
        web_of(self.app).close()
        self.services.store.close()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**env: str) -> Site:
        sites.append(Site(tmp_path / str(len(sites)), **env))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def upload(client: FlaskClient, video: Path) -> Any:
    answer = client.post("/api/uploads?filename=song.mp4", data=video.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json


def problem(answer: TestResponse, status: int) -> str:
    """The one line of a problem."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    detail = str(answer.json["detail"])
    assert detail.count("\n") == 0
    return detail


def test_a_job_waits_for_the_older_ones_of_its_person_and_then_runs(
    make_site: Callable[..., Site], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janitor, "RESUME_INTERVAL_S", 0.1)
    site = make_site(CUTMV_MAX_JOBS="1")
    ann = site.client(site.add("ann"))
    wanted = {"upload_id": upload(ann, video)["id"], "clips": ["0-1"], **STILL}

    accepted = [ann.post("/api/jobs", json=wanted) for _ in range(2)]

    assert [answer.status_code for answer in accepted] == [201] * 2
    ids = [answer.json["id"] for answer in accepted]
    for each in ids:
        wait_for(lambda: _job(ann, each)["state"] == "done", 60.0, "it is done")  # noqa: B023
    ended = [_job(ann, each) for each in ids]
    for before, after in pairwise(ended):
        assert before["finished_at"] <= after["started_at"]


def test_steps_beyond_the_bound_are_refused_for_a_while(
    make_site: Callable[..., Site], video: Path
) -> None:
    site = make_site(CUTMV_MAX_WAITING_STEPS="2")
    ann = site.client(site.add("ann"))
    wanted = {"upload_id": upload(ann, video)["id"], "clips": ["0-1"] * 2, **STILL}
    keyed = {"headers": {"Idempotency-Key": "one"}}
    web_of(site.app).dispatcher.close()  # nothing is made
    assert ann.post("/api/jobs", json=wanted, **keyed).status_code == 201

    answer = ann.post("/api/jobs", json={**wanted, "clips": ["0-1"]})

    assert "1 outputs, 2 others wait" in problem(answer, 429)
    assert int(answer.headers["Retry-After"]) > 0
    assert ann.post("/api/jobs", json=wanted, **keyed).status_code == 201, "it came before"
    too_large = ann.post("/api/jobs", json={**wanted, "clips": ["0-1"] * 3})
    assert "2 may wait at most" in problem(too_large, 413)


@pytest.mark.slow
def test_a_job_that_waits_outlives_the_web_server(
    make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack("redis")
    stack.env["CUTMV_MAX_JOBS"] = "1"
    stack.start_web()
    wanted = {"upload_id": stack.upload(video)["id"], "clips": ["0-1"]}
    jobs = [stack.submit(**wanted) for _ in range(3)]
    assert stack.web
    stack.web.kill()

    stack.start_web()
    stack.start_worker()

    ended = [stack.ended(job["id"]) for job in jobs]
    assert [job["state"] for job in ended] == ["done"] * 3
    for before, after in pairwise(ended):
        assert before["finished_at"] <= after["started_at"]
    assert [step["route"] for job in ended for step in job["steps"]] == ["redis"] * 3


def _job(client: FlaskClient, job_id: str) -> Any:
    return client.get(f"/api/jobs/{job_id}").json
