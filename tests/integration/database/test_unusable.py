"""A database that needs somebody is told of at once, in one line; nothing is tried again."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from cutmv.config import Settings
from cutmv.services import Services
from cutmv.web import create_app
from cutmv.web.state import web_of
from cutmv.worker.patience import DATABASE, Patience, answered


@pytest.fixture(params=["sqlite", "postgresql"])
def services(tmp_path: Path, request: pytest.FixtureRequest) -> Services:
    env = {"CUTMV_DATA_DIR": str(tmp_path / "data")}
    if request.param == "postgresql":
        env["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    return Services.open(Settings.from_env(env))


def test_it_is_answered_and_logged_in_one_line(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(services, addresses=["127.0.0.1"])
    with services.store.engine.begin() as db:
        db.exec_driver_sql("drop table hook_deliveries")
        db.exec_driver_sql("drop table shares")
        db.exec_driver_sql("drop table steps")
        db.exec_driver_sql("drop table jobs")

    with caplog.at_level(logging.INFO):
        response = app.test_client().get("/api/jobs")
    web_of(app).close()
    services.store.close()

    assert (response.status_code, response.headers.get("Retry-After")) == (503, None)
    assert response.get_json()["detail"] == "The database can't be used: a table is missing."
    assert caplog.messages == ["GET /api/jobs: the database: a table is missing"]


def test_nobody_waits_for_it(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    def ask() -> None:
        with services.store.engine.begin() as db:
            read_only = "pragma query_only = on" if db.dialect.name == "sqlite" else None
            db.exec_driver_sql(read_only or "set transaction read only")
            db.exec_driver_sql("delete from jobs")

    answered(DATABASE)  # else it is told of as away already
    began = time.monotonic()
    with pytest.raises(sa.exc.DBAPIError):
        Patience(20.0, stopping=lambda: False).call(DATABASE, ask)
    services.store.close()

    assert time.monotonic() - began < 10.0
    assert "it is read-only" in caplog.text
