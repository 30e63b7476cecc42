"""Links by which anybody gets what a job has made, on a real server where people sign in."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from cutmv.config import Settings
from cutmv.jobs.results import MAX_SHARES
from cutmv.services import Services
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

NAME = "the-owners-song"


@dataclass
class Site:
    """A running server, its services, an owner with a job, a stranger, and somebody without."""

    server: WebServer
    services: Services
    people: dict[str, httpx.Client] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def add(self, name: str) -> httpx.Client:
        person = self.services.accounts.add(f"{name}@example.com")
        _, secret = self.services.api_keys.add(str(person.id), "a test's")
        self.ids[name] = str(person.id)
        headers = {"Authorization": f"Bearer {secret}"}
        self.people[name] = httpx.Client(base_url=self.server.url, headers=headers, timeout=60.0)
        return self.people[name]

    @property
    def nobody(self) -> httpx.Client:
        return self.people["nobody"]

    def make_job(self, name: str, folder: Path) -> dict[str, Any]:
        """A job of somebody's that has ended, with a film and a still."""
        owner = self.people[name]
        video = make_sample(folder / "v.mp4", seconds=1.0, size=(160, 90)).read_bytes()
        upload = owner.post(f"/api/uploads?filename={NAME}.mp4", content=video).json()
        wanted = {"upload_id": upload["id"], "clips": ["0-0.5"], "still": True}
        job_id = owner.post("/api/jobs", json=wanted).json()["id"]

        def ended() -> dict[str, Any] | None:
            job = owner.get(f"/api/jobs/{job_id}").json()
            return job if job["state"] == "done" else None

        return wait_for(ended, 120.0, "the job ends")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with web_server(tmp_path_factory.mktemp("web"), CUTMV_SIGN_IN="always") as server:
        env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
        site = Site(server, Services.open(Settings.from_env(env)))
        site.add("owner")
        site.add("stranger")
        site.people["nobody"] = httpx.Client(base_url=server.url, timeout=60.0)
        yield site
        for client in site.people.values():
            client.close()
        site.services.store.close()


@pytest.fixture(scope="module")
def job(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return site.make_job("owner", tmp_path_factory.mktemp("video"))


def shared(site: Site, job: dict[str, Any], name: str = "owner", **body: Any) -> dict[str, Any]:
    answer = site.people[name].post(f"/api/jobs/{job['id']}/shares", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def path_of(share: dict[str, Any]) -> str:
    return str(re.sub(r"^http://[^/]+", "", share["url"]))


def files_of(page: httpx.Response) -> list[str]:
    """The addresses of the files that a page has to save."""
    return re.findall(r'href="([^"]+)\?download=1"', page.text)


def is_gone(site: Site, share: dict[str, Any], output: str) -> bool:
    path = path_of(share)
    asked = [path, f"{path}/outputs/{output}", f"{path}/outputs.zip"]
    return all(site.nobody.get(each).status_code == 404 for each in asked)


def test_a_link_shows_all_of_a_job_to_who_has_not_signed_in_and_nothing_else(
    site: Site, job: dict[str, Any]
) -> None:
    share = shared(site, job)

    page = site.nobody.get(path_of(share))

    assert page.status_code == 200
    assert len(files_of(page)) == 2
    owner = site.people["owner"]
    for step, path in zip(job["steps"], files_of(page), strict=True):
        assert site.nobody.get(path).content == owner.get(step["output"]["url"]).content
    part = site.nobody.get(files_of(page)[0], headers={"Range": "bytes=0-9"})
    assert (part.status_code, len(part.content)) == (206, 10)
    with zipfile.ZipFile(io.BytesIO(site.nobody.get(f"{path_of(share)}/outputs.zip").content)) as z:
        assert z.namelist() == [step["output"]["name"] for step in job["steps"]]
        assert z.testzip() is None
    for secret in (job["id"], job["upload"]["id"], site.ids["owner"], "owner@example.com"):
        assert secret not in page.text
    token = path_of(share).rsplit("/", 1)[1]
    for path in (f"/api/jobs/{job['id']}", job["steps"][0]["output"]["url"], "/api/jobs", "/"):
        with_it = {"Authorization": f"Bearer {token}", "Cookie": f"cutmv={token}"}
        assert site.nobody.get(path, headers=with_it).status_code == 401
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert site.nobody.request(method, files_of(page)[0]).status_code == 405


def test_nobody_else_learns_a_link(site: Site, job: dict[str, Any]) -> None:
    share = shared(site, job)
    path = path_of(share)

    for answer in (site.nobody.get(path), site.nobody.get(f"{path}/outputs.zip")):
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "noindex" in answer.headers["X-Robots-Tag"]
    token = path.rsplit("/", 1)[1]
    assert token not in site.server.process.log
    assert token.encode() not in (site.server.data_dir / "cutmv.db").read_bytes()
    listed = site.people["owner"].get(f"/api/jobs/{job['id']}/shares").json()["shares"]
    assert listed[0]["id"] == share["id"]
    assert token not in str(listed)


def test_a_browser_asks_again_for_what_a_link_showed(site: Site, job: dict[str, Any]) -> None:
    path = path_of(shared(site, job))
    page = site.nobody.get(path)
    gone = site.nobody.get("/shared/none")
    files = [site.nobody.get(each) for each in (*files_of(page), f"{path}/outputs.zip")]

    assert page.headers["Cache-Control"] == gone.headers["Cache-Control"] == "no-store"
    assert len(files) == 3
    for answer in files:
        assert answer.status_code == 200
        told = answer.headers["Cache-Control"]
        assert ("no-cache" in told or "no-store" in told) and "max-age" not in told


def test_a_link_to_one_output_shows_that_alone(site: Site, job: dict[str, Any]) -> None:
    film, still = (step["output"]["name"] for step in job["steps"])
    share = shared(site, job, output=still)
    path = path_of(share)

    page = site.nobody.get(path)

    assert still in page.text and film not in page.text
    assert site.nobody.get(f"{path}/outputs/{still}").status_code == 200
    assert site.nobody.get(f"{path}/outputs/{film}").status_code == 404
    assert site.nobody.get(f"{path}/outputs.zip").status_code == 404


def test_a_link_ends_at_its_time(site: Site, job: dict[str, Any]) -> None:
    share = shared(site, job, days=2)
    assert share["expires_at"] - share["created_at"] == pytest.approx(2 * 86_400, abs=1)
    with site.services.store.engine.begin() as db:
        late = sa.text("update shares set expires_at = created_at - 1 where id = :id")
        db.execute(late, {"id": share["id"]})

    assert is_gone(site, share, job["steps"][0]["output"]["name"])
    listed = site.people["owner"].get(f"/api/jobs/{job['id']}/shares").json()["shares"]
    assert share["id"] not in [each["id"] for each in listed]


def test_a_link_ends_when_its_owner_ends_it(site: Site, job: dict[str, Any]) -> None:
    share, other = shared(site, job), shared(site, job)
    where = f"/api/jobs/{job['id']}/shares/{share['id']}"
    assert site.people["stranger"].delete(where).status_code == 404
    assert site.nobody.get(path_of(share)).status_code == 200

    assert site.people["owner"].delete(where).status_code == 204

    assert is_gone(site, share, job["steps"][0]["output"]["name"])
    assert site.nobody.get(path_of(other)).status_code == 200
    assert site.people["owner"].delete(where).status_code == 404


@pytest.mark.slow
def test_a_link_ends_with_what_it_shows(site: Site, tmp_path: Path) -> None:
    job = site.make_job("owner", tmp_path)
    film, still = (step["output"] for step in job["steps"])
    one, all_of_it = shared(site, job, output=still["name"]), shared(site, job)

    site.people["owner"].delete(still["url"])

    assert is_gone(site, one, still["name"])
    page = site.nobody.get(path_of(all_of_it))
    assert page.status_code == 200
    assert [path.rsplit("/", 1)[1] for path in files_of(page)] == [film["name"]]
    site.people["owner"].delete(f"/api/jobs/{job['id']}")
    assert is_gone(site, all_of_it, film["name"])


def test_a_link_is_closed_while_its_owner_s_account_is(site: Site, tmp_path: Path) -> None:
    site.add("leaver")
    job = site.make_job("leaver", tmp_path)
    share = shared(site, job, "leaver")
    assert site.nobody.get(path_of(share)).status_code == 200

    site.services.accounts.disable(site.ids["leaver"])
    assert is_gone(site, share, job["steps"][0]["output"]["name"])


def test_a_link_that_nobody_made_shows_a_page_that_says_so(site: Site) -> None:
    page = site.nobody.get("/shared/nobody-made-this")

    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "This link shows nothing any more" in page.text


def test_what_can_not_be_shared_is_refused(site: Site, job: dict[str, Any]) -> None:
    where = f"/api/jobs/{job['id']}/shares"
    owner, stranger = site.people["owner"], site.people["stranger"]

    assert stranger.post(where, json={}).status_code == 404
    assert stranger.get(where).status_code == 404
    assert owner.post(where, json={"output": "another"}).status_code == 404
    for days in (0, 366, "many", 1.5):
        assert owner.post(where, json={"days": days}).status_code == 422
    answers = [owner.post(where, json={}).status_code for _ in range(MAX_SHARES + 1)]
    assert answers[-1] == 422
    assert len(owner.get(where).json()["shares"]) == MAX_SHARES


def test_downloads_by_a_link_are_bounded_as_others_are(tmp_path: Path) -> None:
    env = {"CUTMV_SIGN_IN": "always", "CUTMV_MAX_REQUESTS": "20"}
    with web_server(tmp_path, **env) as server:
        answers = [httpx.get(f"{server.url}/shared/guess-{n}") for n in range(40)]

    assert [answer.status_code for answer in answers[:20]] == [404] * 20
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
