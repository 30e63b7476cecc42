"""An account or a key whose row can't be read is shown by what can be, and can be ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cutmv.config import Settings
from cutmv.people import Person
from cutmv.services import Services
from cutmv.web import create_app, web_of
from cutmv.web.auth.credentials import Credential

#: What may stand in a column of an account, and is no time, address or number.
BAD = [
    *(("created_at", value) for value in ("yesterday", 2**63 - 1, float("inf"), b"\xff\0")),
    *((column, b"\xff\0") for column in ("email", "name", "password_hash", "totp_secret")),
    *(("retention_days", value) for value in ("many", 2**63 - 1, b"\xff\0")),
    ("quotas", "{"),
]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    env = {"CUTMV_DATA_DIR": str(tmp_path), "CUTMV_MODE": "eager", "CUTMV_SIGN_IN": "always"}
    app = create_app(Services.open(Settings.from_env(env)))
    yield app
    web_of(app).close()
    web_of(app).services.store.close()


def add(app: Flask, name: str, *, is_admin: bool = False) -> tuple[Person, FlaskClient]:
    """A person, and a browser in which they have signed in."""
    services, client = web_of(app).services, app.test_client()
    person = services.accounts.add(
        f"{name}@example.com", password="correct horse battery", is_admin=is_admin
    )
    token = services.sessions.begin(person)
    client.set_cookie("cutmv", token)
    client.environ_base["HTTP_X_CSRF_TOKEN"] = Credential("session", token).csrf_token
    return person, client


def damage(app: Flask, statement: str, *values: object) -> None:
    with web_of(app).services.store.engine.begin() as db:
        db.exec_driver_sql(statement, values)


@pytest.mark.parametrize(("column", "value"), BAD)
def test_an_account_that_can_t_be_read_is_shown_disabled_and_deleted(
    app: Flask, column: str, value: object
) -> None:
    _, boss = add(app, "boss", is_admin=True)
    ann, own = add(app, "ann")
    damage(app, f"update people set {column} = ? where id = ?", value, ann.id)

    assert [own.get(page).status_code for page in ("/account", "/api/account")] == [200, 200]
    assert str(ann.id) in boss.get("/people").text
    listed = boss.get("/api/people").json["people"]
    assert ann.id in {each["id"] for each in listed}
    page = f"/people/{ann.id}"
    assert boss.post(page, data={"do": "disable"}).status_code == 303
    assert boss.get(f"/api/people/{ann.id}").json["disabled"]
    assert boss.post(page, data={"do": "delete"}).status_code == 303
    assert len(boss.get("/api/people").json["people"]) == 1


def test_who_was_disabled_at_no_time_that_there_is_stays_so_until_that_is_ended(
    app: Flask,
) -> None:
    _, boss = add(app, "boss", is_admin=True)
    ann, own = add(app, "ann")
    damage(app, "update people set disabled_at = 'then' where id = ?", ann.id)

    assert own.get("/api/account").status_code == 401
    assert boss.get(f"/api/people/{ann.id}").json["disabled"]
    assert 'value="enable"' in boss.get("/people").text
    assert boss.post(f"/people/{ann.id}", data={"do": "enable"}).status_code == 303
    assert not boss.get(f"/api/people/{ann.id}").json["disabled"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("expires_at", value) for value in ("late", 2**63 - 1, float("inf"), b"\xff\0")),
        ("name", b"\xff\0"),
        ("created_at", b"\xff\0"),
        ("last_used_at", b"\xff\0"),
    ],
)
def test_a_key_that_can_t_be_read_is_shown_and_deleted(
    app: Flask, column: str, value: object
) -> None:
    ann, own = add(app, "ann")
    key, _ = web_of(app).services.api_keys.add(str(ann.id), "a key")
    damage(app, f"update api_keys set {column} = ?", value)

    assert own.get("/account").status_code == 200
    assert [each["id"] for each in own.get("/api/keys").json["keys"]] == [key.id]
    assert own.post(f"/account/keys/{key.id}/delete").status_code == 303
    assert own.get("/api/keys").json["keys"] == []
