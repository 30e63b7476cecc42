"""All routes of the application: what belongs to somebody is there for nobody else.

Each route is asked for what one person has by another one, by another's key, and by nobody. A route
that this module does not know fails it: say below whose what it shows is.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from cutmv.config import Settings
from cutmv.jobs import Hooks, MultipartUploads, UnknownUpload
from cutmv.people import Person
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.auth.credentials import Credential
from tests.support.media import make_sample
from tests.support.processes import wait_for

PASSWORD = "correct horse battery"
#: What only the owner's uploads and jobs have in them.
SECRET_NAME = "the-owners-secret"

#: Routes that anybody may ask: they show nothing of anybody.
OPEN = {
    "static",
    "page.asset",
    "api_page.file",
    "health.healthz",
    "openapi.document",
    "queue.progress",  # it is signed
    "sign_in.show",
    "sign_in.create",
    "sign_in.code",  # by a secret, and a code
    "sign_in.mail",
    "sign_in.link",  # by a secret
    "sign_in.use_link",
    "shared.show",  # by a secret too
    "shared.output",
    "shared.archive",
}
#: Routes that show everybody what is their own, and those that administrators alone may use.
OWN = {
    "page.index",
    "api_page.show",
    "uploads.create",
    "multipart.create",
    "multipart.index",
    "jobs.index",
    "uploads.index",
    "own_account.show",
    "own_account.change",
    "keys.index",
    "keys.create",
    "hooks.index",
    "hooks.create",
    "webhooks.show",
    "webhooks.create",
    "queue.status",
    "live.watch_all",
    "sign_in.end",
    "account.show",
    "account.password",
    "account.retention",
    "account.add_key",
    "account.sign_out_everywhere",
    "second_factor.show",
    "second_factor.turn_on",
    "second_factor.turn_off",
}
ADMINISTRATORS = {"health.metrics"}
#: Routes that end the session by which they are asked.
SIGN_OUT = {"sign_in.end", "account.sign_out_everywhere"}
ADMINISTRATORS_BLUEPRINTS = ("operators.", "people.", "people_page.")
#: Routes that a key may not use, whoever made it: they change how people sign in, or more.
NOT_BY_KEY = {
    "account.show",
    "account.password",
    "account.retention",
    "account.add_key",
    "account.delete_key",
    "account.sign_out_everywhere",
    "second_factor.show",
    "second_factor.turn_on",
    "second_factor.turn_off",
    "people_page.index",
    "people_page.invite",
    "people_page.change",
    "keys.create",
}


class Site:
    """An application where people sign in, with an owner of things, a stranger and a boss."""

    def __init__(self, folder: Path) -> None:
        env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(folder)}
        self.services = Services.open(Settings.from_env(env))
        self.app = create_app(self.services)
        self.boss = self.add("boss", is_admin=True)
        self.owner, self.stranger = self.add("owner"), self.add("stranger")
        video = make_sample(folder / "v.mp4", seconds=1.0, size=(160, 90)).read_bytes()
        owner = self.client(self.owner)
        upload = owner.post(f"/api/uploads?filename={SECRET_NAME}.mp4", data=video)
        self.upload_id = upload.json["id"]
        wanted = {"upload_id": self.upload_id, "clips": ["0-0.5"], "aspects": [], "still": True}
        self.job_id = owner.post("/api/jobs", json=wanted).json["id"]
        job = wait_for(lambda: self._ended(owner), 60.0, "the job ends")
        assert job["state"] == "done", job
        made = lambda: owner.post(f"{of_upload}/overview").status_code == 200  # noqa: E731
        of_upload = f"/api/uploads/{self.upload_id}"
        wait_for(made, 60.0, "the overview is made")
        made = lambda: owner.post(f"{of_upload}/proxy").status_code == 200  # noqa: E731
        wait_for(made, 60.0, "the proxy is made")
        self.output = job["steps"][0]["output"]["name"]
        self.step_id = job["steps"][0]["id"]
        share = owner.post(f"/api/jobs/{self.job_id}/shares", json={}).json
        self.share_id, self.shared_path = share["id"], urlsplit(share["url"]).path
        self.key, self.secret = self.services.api_keys.add(str(self.owner.id), "the owner's")
        hook = {"url": f"https://{SECRET_NAME}.example.com/"}
        self.hook = owner.post("/api/webhooks", json=hook).json
        head = base64.b64encode(video[:400]).decode()
        begun = {"filename": f"{SECRET_NAME}-2.mp4", "size": len(video), "head": head}
        self.multipart_id = owner.post("/api/multipart-uploads", json=begun).json["id"]
        #: What the parameters of routes stand for: each is something of the owner's.
        self.values = {
            "multipart_id": self.multipart_id,
            "number": 1,
            "sheet_number": 0,
            "upload_id": self.upload_id,
            "job_id": self.job_id,
            "name": self.output,
            "key_id": self.key.id,
            "hook_id": self.hook["id"],
            "person_id": self.owner.id,
            "queue": "cutmv-processing",
            "worker": "celery@host",
            "step_id": self.step_id,
            "share_id": self.share_id,
            "asset": "swagger-ui.css",
        }

    def add(self, name: str, *, is_admin: bool = False) -> Person:
        accounts = self.services.accounts
        return accounts.add(f"{name}@example.com", password=PASSWORD, is_admin=is_admin)

    def client(self, person: Person | None) -> FlaskClient:
        """A browser in which a person has signed in."""
        client = self.app.test_client()
        if person is not None:
            token = self.services.sessions.begin(person)
            client.set_cookie("cutmv", token)
            client.environ_base["HTTP_X_CSRF_TOKEN"] = Credential("session", token).csrf_token
        return client

    def by_key(self, person: Person) -> FlaskClient:
        """A program with a key of a person's."""
        _, secret = self.services.api_keys.add(str(person.id), "a program")
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return client

    def ask(self, client: FlaskClient, rule: Rule, method: str) -> TestResponse:
        """Ask a route for what the owner has."""
        unknown = rule.arguments - self.values.keys()
        assert not unknown, f"{rule}: say in this module what {unknown} stand for"
        path = rule.rule
        for name in rule.arguments:
            path = re.sub(rf"<(int:)?{name}>", str(self.values[name]), path)
        body: dict[str, Any] = {}
        if rule.websocket:
            body = {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}
        elif rule.endpoint in ("jobs.create", "jobs.estimate"):
            body = {"json": {"upload_id": self.upload_id, "clips": ["0-1"]}}
        elif rule.endpoint.startswith("people_page."):
            body = {"data": {"do": "delete"}}
        elif rule.endpoint.startswith("operators."):
            body = {"data": {"do": "revoke"}}
        elif method == "PATCH":
            body = {"json": {"disabled": True}}
        elif rule.endpoint in OWN:
            # Whatever it may take for the name of a thing: in the query, and in a form.
            named = {name: str(value) for name, value in self.values.items() if name != "name"}
            named |= {"id": self.job_id, "watch": self.job_id, "current": PASSWORD}
            body = {"query_string": named}
            if method == "POST" and not rule.rule.startswith("/api/"):
                body["data"] = named
        return client.open(path, method=method, buffered=True, **body)

    def assert_unharmed(self) -> None:
        """What the owner has is as it was."""
        owner = self.client(self.owner)
        assert owner.get(f"/api/jobs/{self.job_id}").json["state"] == "done"
        of_upload = f"/api/uploads/{self.upload_id}"
        of_output = f"/api/jobs/{self.job_id}/outputs/{self.output}"
        parts = ("content", "overview/sheets/0", "overview/peaks", "proxy/content")
        for path in (of_output, *(f"{of_upload}/{part}" for part in parts)):
            with owner.get(path) as file:  # one that is not closed is a download that goes on
                assert file.status_code == 200, path
        begun = owner.get(f"/api/multipart-uploads/{self.multipart_id}")
        assert begun.json["stored"] == []
        assert self.services.api_keys.person(self.secret) == self.owner
        of_hook = f"/api/webhooks/{self.hook['id']}"
        assert owner.get(of_hook).json["enabled"]
        assert owner.get(f"{of_hook}/deliveries").json == {"deliveries": []}
        assert self.client(None).get(self.shared_path).status_code == 200
        assert self.services.store.jobs(100) == [self.services.store.job(self.job_id)]

    def _ended(self, owner: FlaskClient) -> Any:
        job = owner.get(f"/api/jobs/{self.job_id}").json
        return job if job["state"] in ("done", "failed") else None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    web_of(site.app).close()
    site.services.store.close()


def routes(app: Flask) -> list[tuple[Rule, str]]:
    """All routes that are not open, by method."""
    guarded = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in OPEN]
    return [(rule, method) for rule in guarded for method in sorted(rule.methods - {"OPTIONS"})]


def for_administrators(rule: Rule) -> bool:
    return rule.endpoint in ADMINISTRATORS or rule.endpoint.startswith(ADMINISTRATORS_BLUEPRINTS)


def test_nobody_gets_anything(site: Site) -> None:
    nobody = site.client(None)
    for rule, method in routes(site.app):
        answer = site.ask(nobody, rule, method)

        to_sign_in = answer.status_code == 303 and answer.location.startswith("/sign-in?next=")
        assert answer.status_code == 401 or to_sign_in, f"{method} {rule}: {answer.status}"
        assert SECRET_NAME.encode() not in answer.data
    site.assert_unharmed()


def test_a_key_that_is_none_opens_nothing_even_with_a_session(site: Site) -> None:
    client = site.client(site.owner)
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer cutmv_none"
    for rule, method in routes(site.app):
        assert site.ask(client, rule, method).status_code == 401, f"{method} {rule}"
    site.assert_unharmed()


@pytest.mark.parametrize("way", ["by a session", "by a key"])
def test_what_somebody_has_is_there_for_nobody_else(site: Site, way: str) -> None:
    come_in = site.client if way == "by a session" else site.by_key
    stranger = come_in(site.stranger)
    for rule, method in routes(site.app):
        answer = site.ask(stranger, rule, method)
        if rule.endpoint in SIGN_OUT:
            stranger = come_in(site.stranger)

        what = f"{method} {rule}: {answer.status} {answer.data[:200]!r}"
        for_sessions = way == "by a key" and rule.endpoint in NOT_BY_KEY
        if for_administrators(rule) or for_sessions:
            assert answer.status_code == 403, what
        elif rule.endpoint not in OWN:
            assert answer.status_code == 404, what
        assert SECRET_NAME.encode() not in answer.data, what
        assert site.job_id.encode() not in answer.data or answer.status_code == 404, what
    site.assert_unharmed()


def test_not_even_an_administrators_key_is_good_for_how_people_sign_in(site: Site) -> None:
    program, asked = site.by_key(site.boss), set()
    for rule, method in routes(site.app):
        if rule.endpoint in NOT_BY_KEY:
            answer = site.ask(program, rule, method)
            asked.add(rule.endpoint)

            assert answer.status_code == 403, f"{method} {rule}: {answer.status}"
            if method != "HEAD":
                assert "not for API keys" in answer.json["detail"]
    assert asked == NOT_BY_KEY
    # A page that comes later is for who signs in, too.
    pages = ("account.", "second_factor.", "people_page.")
    endpoints = {rule.endpoint for rule in site.app.url_map.iter_rules()}
    assert {each for each in endpoints if each.startswith(pages)} <= NOT_BY_KEY
    site.assert_unharmed()


def test_the_list_of_routes_that_show_ones_own_is_of_this_application(site: Site) -> None:
    endpoints = {rule.endpoint for rule in site.app.url_map.iter_rules()}

    assert endpoints >= OPEN | OWN | ADMINISTRATORS
    assert not [r for r in site.app.url_map.iter_rules() if r.endpoint in OWN and r.arguments]


def test_what_bodies_name_of_others_is_asked_for_above(site: Site) -> None:
    document = site.client(site.boss).get("/api/openapi.json").json
    schemas = document["components"]["schemas"]
    named = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            for schema in [each.get("schema", {}) for each in content.values()]:
                fields = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
                for field in fields.get("properties", {}):
                    if re.search(r"(^|_)(ids?|key|token|url|watch)$", field):
                        named.add((method, path, field))

    assert named == {
        ("post", "/api/jobs", "upload_id"),
        ("post", "/api/jobs/estimate", "upload_id"),
        ("post", "/api/webhooks", "url"),  # where to, which names nothing here
    }


def test_a_route_that_asks_for_nobody_is_found(site: Site, tmp_path: Path) -> None:
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(tmp_path)}
    app = create_app(Services.open(Settings.from_env(env)))
    app.add_url_rule("/api/forgotten/<job_id>", "forgotten", lambda job_id: job_id)

    assert ("forgotten", "GET") in {(rule.endpoint, method) for rule, method in routes(app)}
    assert app.test_client().get(f"/api/forgotten/{site.job_id}").status_code == 401
    web_of(app).close()


def test_an_administrator_sees_all(site: Site) -> None:
    boss = site.client(site.boss)

    assert [job["id"] for job in boss.get("/api/jobs").json["jobs"]] == [site.job_id]
    assert boss.get(f"/api/uploads/{site.upload_id}/content").status_code == 200
    assert boss.get(f"/api/jobs/{site.job_id}/outputs/{site.output}").status_code == 200
    assert boss.get("/metrics").status_code == 200


def test_a_browser_asks_before_it_shows_a_file_again_to_whoever_uses_it(site: Site) -> None:
    owner = site.client(site.owner)
    of_upload = f"/api/uploads/{site.upload_id}"
    parts = [f"{of_upload}/{part}" for part in ("content", "overview/peaks", "proxy/content")]
    for path in (*parts, f"/api/jobs/{site.job_id}/outputs/{site.output}"):
        with owner.get(path) as shown:
            told = shown.headers["Cache-Control"]
            again = owner.get(path, headers={"If-None-Match": shown.headers["ETag"]})
        assert set(told.split(", ")) == {"private", "no-cache"}, path
        assert again.status_code == 304, path


def test_a_key_of_a_request_is_of_one_person(site: Site) -> None:
    video = (Path(site.services.settings.data_dir) / "v.mp4").read_bytes()
    headers = {"Idempotency-Key": "one"}
    mine = site.client(site.owner).post("/api/uploads?filename=a.mp4", data=video, headers=headers)
    again = site.client(site.owner).post("/api/uploads?filename=a.mp4", data=video, headers=headers)
    theirs = site.client(site.stranger).post(
        "/api/uploads?filename=b.mp4", data=b"", headers=headers
    )
    both = site.client(site.stranger).post(
        "/api/uploads?filename=a.mp4", data=video, headers=headers
    )

    assert again.json["id"] == mine.json["id"]
    assert theirs.status_code == 400
    assert both.status_code == 201
    assert both.json["id"] != mine.json["id"]


def test_a_session_needs_its_csrf_token_to_change_anything(site: Site) -> None:
    client = site.client(site.owner)
    for rule, method in routes(site.app):
        if method in ("GET", "HEAD"):
            continue
        for token in ("", "0" * 64, Credential("session", "another").csrf_token):
            client.environ_base["HTTP_X_CSRF_TOKEN"] = token
            answer = site.ask(client, rule, method)
            assert answer.status_code == 403, f"{method} {rule}: {answer.status}"
    site.assert_unharmed()


def test_an_account_ends_with_all_that_it_has(site: Site) -> None:
    leaver = site.add("leaver")
    client = site.client(leaver)
    video = (Path(site.services.settings.data_dir) / "v.mp4").read_bytes()
    upload = client.post("/api/uploads?filename=mine.mp4", data=video).json
    begun = {"filename": "more.mp4", "size": 9, "head": base64.b64encode(video[:400]).decode()}
    assert client.post("/api/multipart-uploads", json=begun).status_code == 201
    assert client.post("/api/webhooks", json={"url": "https://example.com/"}).status_code == 201
    wanted = {"upload_id": upload["id"], "clips": ["0-0.5"], "aspects": [], "still": True}
    job = client.post("/api/jobs", json=wanted).json["id"]
    wait_for(lambda: client.get(f"/api/jobs/{job}").json["state"] == "done", 60.0, "the job ends")
    kept = {stat.key for stat in site.services.storage.list("uploads/")}

    answer = site.client(site.boss).delete(f"/api/people/{leaver.id}")

    assert answer.status_code == 204
    assert client.get("/api/jobs").status_code == 401
    assert not site.services.store.jobs(100, of=str(leaver.id))
    assert Hooks(site.services.store.engine).of(str(leaver.id)) == []
    begun_uploads = MultipartUploads(site.services.store, site.services.storage)
    assert not begun_uploads.of_person(str(leaver.id))
    with pytest.raises(UnknownUpload):
        site.services.store.upload(upload["id"])
    assert not list(site.services.storage.list(f"jobs/{job}/"))
    assert len({stat.key for stat in site.services.storage.list("uploads/")}) == len(kept) - 1
    site.assert_unharmed()


def test_the_last_administrator_stays_with_all_that_they_have(site: Site) -> None:
    boss = site.client(site.boss)
    video = (Path(site.services.settings.data_dir) / "v.mp4").read_bytes()
    upload = boss.post("/api/uploads?filename=mine.mp4", data=video).json["id"]

    refused = boss.delete(f"/api/people/{site.boss.id}")

    assert refused.status_code == 422
    assert boss.get(f"/api/uploads/{upload}/content", buffered=True).data == video
    assert boss.delete(f"/api/uploads/{upload}").status_code == 204
    site.assert_unharmed()


def test_reports_by_a_short_secret_are_taken_from_this_machine_alone(site: Site) -> None:
    short = replace(site.services.settings, webhook_secret="k" * 23)
    longer = replace(short, webhook_secret="k" * 24)
    apps = {
        name: create_app(replace(site.services, settings=each), addresses=["127.0.0.1"])
        for name, each in (("short", short), ("long", longer))
    }

    def asked(name: str, address: str, **headers: str) -> int:
        client = apps[name].test_client()
        client.environ_base["REMOTE_ADDR"] = address
        body = {"data": b"{}", "headers": headers}
        return client.post("/api/queue-progress", **body).status_code

    # 401: it is not signed.
    assert asked("short", "127.0.0.1") == asked("short", "::1") == 401
    assert asked("short", "203.0.113.9") == asked("short", "10.0.0.2") == 503
    assert asked("short", "127.0.0.1", **{"X-Forwarded-For": "203.0.113.9"}) == 503
    assert asked("long", "203.0.113.9") == 401
    # Where people sign in somebody comes by a proxy, which may tell nothing of itself.
    signed_in = create_app(replace(site.services, settings=short))
    assert signed_in.test_client().post("/api/queue-progress", data=b"{}").status_code == 503
    web_of(signed_in).close()


def test_nobody_signs_in_on_loopback_and_all_is_theirs(site: Site) -> None:
    client = create_app(site.services, addresses=["127.0.0.1"]).test_client()

    assert [job["id"] for job in client.get("/api/jobs").json["jobs"]] == [site.job_id]
    assert client.get("/metrics").status_code == 200
    for path in ("/sign-in", "/account", "/people", "/api/people", "/api/keys"):
        assert client.get(path).status_code == 404, path
