"""How much one person may have, as the HTTP API says it."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cutmv.config import Settings
from cutmv.database import now
from cutmv.dispatch import janitor
from cutmv.jobs.tables import uploads
from cutmv.people import Person
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.api.models import size_text
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
        token = self.services.sessions.begin(person)
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


@pytest.mark.slow
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


def test_an_upload_that_does_not_fit_is_refused_before_it_is_read(
    make_site: Callable[..., Site], video: Path
) -> None:
    site = make_site(CUTMV_MAX_STORED_BYTES="100000")
    ann = site.client(site.add("ann"))
    used = upload(ann, video)["size"]
    unread = io.BytesIO(video.read_bytes() + b"0" * 100_000)
    size = len(unread.getvalue())

    answer = ann.post("/api/uploads", input_stream=unread, content_length=size)

    told = f"{size_text(used)} of 100 kB are used, and this has {size_text(size)}"
    assert told in problem(answer, 507)
    assert (answer.json["used"], answer.json["most"]) == (used, 100_000)
    assert "Retry-After" not in answer.headers
    assert unread.tell() == 0
    parts = {"filename": "a.mp4", "size": 100_000, "head": b64encode(video.read_bytes()[:4096])}
    begun = ann.post("/api/multipart-uploads", json={**parts, "head": parts["head"].decode()})
    assert told.partition(",")[0] in problem(begun, 507)
    assert len(list(site.services.storage.list("uploads/"))) == 1


def test_an_upload_whose_length_was_not_told_ends_where_all_is_full(
    make_site: Callable[..., Site], video: Path
) -> None:
    site = make_site(CUTMV_MAX_STORED_BYTES="1000000")
    ann = site.client(site.add("ann"))
    endless = io.BytesIO(video.read_bytes() + b"0" * 5_000_000)

    answer = ann.post(
        "/api/uploads",
        input_stream=endless,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert "of 1 MB are used" in problem(answer, 507)
    assert endless.tell() < 3_000_000
    assert not list(site.services.storage.list("uploads/"))
    upload(ann, video)


def test_who_has_stored_all_makes_no_job_until_something_is_deleted(
    make_site: Callable[..., Site], video: Path
) -> None:
    site = make_site()
    person = site.add("ann")
    ann = site.client(person)
    sent, other = upload(ann, video), upload(ann, video)
    site.services.accounts.set_quotas(str(person.id), {"stored_bytes": 2 * sent["size"]})
    wanted = {"upload_id": sent["id"], "clips": ["0-1"], **STILL}

    answer = ann.post("/api/jobs", json=wanted)

    both = size_text(2 * sent["size"])
    assert f"{both} of {both} are used: delete" in problem(answer, 507)
    assert ann.get("/api/jobs").json["jobs"] == []
    assert ann.delete(f"/api/uploads/{other['id']}").status_code == 204
    assert ann.post("/api/jobs", json=wanted).status_code == 201


def test_people_see_what_they_use_and_choose_for_how_long_it_is_kept(
    make_site: Callable[..., Site], video: Path
) -> None:
    site = make_site(CUTMV_RETENTION_DAYS="20")
    ann, ben = site.client(site.add("ann")), site.client(site.add("ben"))
    sent = upload(ann, video)

    assert ann.get("/api/account").json["usage"] == {
        "jobs": {"used": 0, "most": 3},
        "waiting_steps": {"used": 0, "most": 2_000},
        "stored_bytes": {"used": sent["size"], "most": 50_000_000_000},
        "rows": {"used": 1, "most": 100_000},
    }
    assert ben.get("/api/account").json["usage"]["stored_bytes"]["used"] == 0
    assert f"{size_text(sent['size'])} of 50 GB stored." in ann.get("/account").text
    assert ann.patch("/api/account", json={"retention_days": 5}).json["retention_days"] == 5
    assert ann.get("/account").text.count('name="days" value="5"') == 1
    for wrong in (0, 21, -1):
        answer = ann.patch("/api/account", json={"retention_days": wrong})
        assert "1 to 20 days" in problem(answer, 422)
    by_page = {"days": "7", "csrf_token": ann.environ_base["HTTP_X_CSRF_TOKEN"]}
    assert ann.post("/account/retention", data=by_page).status_code == 303
    assert ann.post("/account/retention", data={**by_page, "days": "21"}).status_code == 422
    with site.services.store.engine.begin() as db:
        db.execute(uploads.update().values(created_at=now() - 6 * 86_400.0))
    theirs = upload(ben, video)
    janitor.Janitor(web_of(site.app).dispatcher).sweep()
    assert ann.get(f"/api/uploads/{sent['id']}").status_code == 200
    with site.services.store.engine.begin() as db:
        db.execute(uploads.update().values(created_at=now() - 8 * 86_400.0))
    janitor.Janitor(web_of(site.app).dispatcher).sweep()
    assert ann.get(f"/api/uploads/{sent['id']}").status_code == 404
    assert ann.get("/api/account").json["usage"]["stored_bytes"]["used"] == 0
    assert ben.get(f"/api/uploads/{theirs['id']}").status_code == 200
    assert ann.patch("/api/account", json={"retention_days": None}).json["retention_days"] == 20


def test_on_loopback_all_is_of_one_person_whose_disk_has_no_bound(tmp_path: Path) -> None:
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path)}
    services = Services.open(Settings.from_env(env))
    app = create_app(services, addresses=["127.0.0.1"])
    told = app.test_client().get("/api/account").json

    assert told["usage"]["stored_bytes"] == {"used": 0, "most": None}
    assert told["usage"]["jobs"] == {"used": 0, "most": 3}
    answer = app.test_client().patch("/api/account", json={"retention_days": 1})
    assert "CUTMV_RETENTION_DAYS" in problem(answer, 404)
    web_of(app).close()
    services.store.close()


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
