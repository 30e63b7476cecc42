"""Where a second factor is asked for, nothing is there for who has none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyotp
import pytest
from flask.testing import FlaskClient

from cutmv.config import Settings
from cutmv.people import Person, new_app_secret
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.access import OPEN
from cutmv.web.auth.credentials import Credential

PASSWORD = "correct horse battery"
FACTOR = "/account/second-factor"


class Site:
    """An application where people sign in, an administrator and somebody else."""

    def __init__(self, folder: Path, asked: str) -> None:
        env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(folder), "CUTMV_SECOND_FACTOR": asked}
        self.services = Services.open(Settings.from_env(env))
        self.app = create_app(self.services)
        accounts = self.services.accounts
        self.boss = accounts.add("boss@example.com", password=PASSWORD, is_admin=True)
        self.ann = accounts.add("ann@example.com", password=PASSWORD)

    def client(self, whose: Person) -> FlaskClient:
        """A browser in which somebody has signed in."""
        client = self.app.test_client()
        token = self.services.sessions.begin(self.services.accounts.get(str(whose.id)))
        client.set_cookie("cutmv", token)
        client.environ_base["HTTP_X_CSRF_TOKEN"] = Credential("session", token).csrf_token
        return client

    def by_key(self, whose: Person) -> FlaskClient:
        """A program with a key of somebody's."""
        _, secret = self.services.api_keys.add(str(whose.id), "a program")
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        return client


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    sites: list[Site] = []

    def make(asked: str) -> Site:
        sites.append(Site(tmp_path, asked))
        return sites[-1]

    yield make
    for site in sites:
        web_of(site.app).close()
        site.services.store.close()


def test_nothing_is_there_before_it_is_added(make_site: Callable[[str], Site]) -> None:
    site = make_site("everybody")
    browser, program = site.client(site.ann), site.by_key(site.ann)
    own = {"second_factor", "account.show", "account.password", "sign_in.end"}
    for rule in site.app.url_map.iter_rules():
        if rule.endpoint in OPEN or own & {rule.endpoint, rule.endpoint.split(".")[0]}:
            continue
        path = re.sub("<.*?>", "1", rule.rule)
        for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
            up = {"Connection": "Upgrade", "Upgrade": "websocket"} if rule.websocket else {}
            answers = [each.open(path, method=method, headers=up) for each in (browser, program)]
            told = [(each.status_code, each.location) for each in answers]
            assert told[0] in ((303, FACTOR), (403, None)), f"{method} {rule}: {told}"
            assert told[1] == (403, None), f"{method} {rule}: {told}"

    assert "nothing else is shown" in browser.get(FACTOR).text
    assert browser.get("/api/jobs").json["detail"].startswith("A second factor is asked for here")


def test_who_adds_it_comes_in_and_keeps_it(make_site: Callable[[str], Site]) -> None:
    site = make_site("everybody")
    browser, program = site.client(site.ann), site.by_key(site.ann)
    secret = new_app_secret()
    form = {"secret": secret, "current": PASSWORD, "code": pyotp.TOTP(secret).now()}
    form["csrf_token"] = browser.environ_base["HTTP_X_CSRF_TOKEN"]

    added = browser.post(FACTOR, data=form)

    assert added.status_code == 200 and "Recovery codes" in added.text
    again = site.client(site.ann)
    assert again.get("/").status_code == again.get("/api/jobs").status_code == 200
    assert program.get("/api/jobs").status_code == 200
    assert "Turn it off" not in again.get(FACTOR).text
    token = {"csrf_token": again.environ_base["HTTP_X_CSRF_TOKEN"]}
    kept = again.post(f"{FACTOR}/off", data={**token, "code": "000000"})
    assert kept.status_code == 403 and "it stays on" in kept.text
    site.services.second_factors.turn_off(str(site.ann.id))  # an administrator does
    assert site.client(site.ann).get("/api/jobs").status_code == 403


def test_where_administrators_must_have_it_others_need_none(
    make_site: Callable[[str], Site],
) -> None:
    site = make_site("administrators")

    assert site.client(site.boss).get("/people").location == FACTOR
    assert site.by_key(site.boss).get("/metrics").status_code == 403
    assert site.client(site.ann).get("/").status_code == 200
    assert site.by_key(site.ann).get("/api/jobs").status_code == 200
