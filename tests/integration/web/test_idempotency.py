"""A request that comes again makes nothing twice, though the database's answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from cutmv.config import Settings
from cutmv.jobs.tables import jobs, uploads
from cutmv.services import Services
from cutmv.web import create_app
from cutmv.web.state import web_of
from tests.support.media import make_sample


@pytest.fixture(params=["sqlite", "postgresql"])
def services(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Services]:
    env = {"CUTMV_DATA_DIR": str(tmp_path / "data")}
    if request.param == "postgresql":
        env["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    services = Services.open(Settings.from_env(env))
    yield services
    services.store.close()


@pytest.fixture
def client(services: Services) -> Iterator[FlaskClient]:
    app = create_app(services, addresses=["127.0.0.1"])
    yield app.test_client()
    web_of(app).close()


@pytest.fixture
def lose_answer(services: Services, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the next commit's connection end once the database has done it."""
    dialect: Any = services.store.engine.dialect
    commit = dialect.do_commit

    def lost(connection: Any) -> None:
        commit(connection)
        monkeypatch.setattr(dialect, "do_commit", commit)
        connection.dbapi_connection.close()
        raise dialect.dbapi.OperationalError("the server closed the connection unexpectedly")

    return lambda: monkeypatch.setattr(dialect, "do_commit", lost)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_sample(tmp_path_factory.mktemp("video") / "s.mp4", seconds=2.0, size=(320, 180))
    return path.read_bytes()


def send(client: FlaskClient, video: bytes, key: str, name: str = "s.mp4") -> Any:
    return client.post(
        f"/api/uploads?filename={name}",
        data=video,
        content_type="application/octet-stream",
        headers={"Idempotency-Key": key},
    )


def test_an_upload_and_a_job_whose_commit_s_answer_was_lost_are_there_once(
    client: FlaskClient, services: Services, lose_answer: Callable[[], None], video: bytes
) -> None:
    lose_answer()
    assert send(client, video, '"one"').status_code == 503
    answer = send(client, video, '"one"')
    assert answer.status_code == 201
    upload_id = answer.get_json()["id"]
    content = client.get(f"/api/uploads/{upload_id}/content")
    assert content.data == video
    content.close()
    assert send(client, video, '"one"', name="other.mp4").status_code == 422
    assert len(list(services.storage.list("uploads/"))) == count(services, uploads) == 1

    def post(key: str, *clips: str) -> Any:
        wanted = {"upload_id": upload_id, "clips": list(clips)}
        return client.post(
            "/api/jobs", json=wanted, headers={"Idempotency-Key": key}, buffered=True
        )

    lose_answer()
    assert post('"two"', "0-1").status_code == 503
    first = post('"two"', "0-1")
    assert first.status_code == 201
    assert first.get_json()["mode"] == "eager", "it was sent, too"
    for key in ('"two"', "two"):
        assert post(key, "0-1").get_json()["id"] == first.get_json()["id"]
    assert count(services, jobs) == 1
    refused = post('"two"', "0-2")
    assert (refused.status_code, "use a new one" in refused.get_json()["detail"]) == (422, True)
    assert post('"three"', "0-1").get_json()["id"] != first.get_json()["id"]
    for wrong in ('""', "x" * 256, "\u00e4"):
        assert post(wrong, "0-1").status_code == 400


def count(services: Services, table: sa.Table) -> int:
    with services.store.reading() as db:
        return db.scalar(sa.select(sa.func.count()).select_from(table)) or 0
