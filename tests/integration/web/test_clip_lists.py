"""Lists of clips over HTTP: read as those of the command line are, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from cutmv.config import Settings
from cutmv.services import Services
from cutmv.web import create_app
from cutmv.web.state import web_of
from tests.support.jobs import add_job


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = Services.open(Settings.from_env({"CUTMV_DATA_DIR": str(tmp_path / "data")}))
    yield services
    services.store.close()


@pytest.fixture
def client(services: Services) -> Iterator[FlaskClient]:
    app = create_app(services, addresses=["127.0.0.1"])
    yield app.test_client()
    web_of(app).close()


def test_a_list_is_read_and_each_line_that_can_t_be_is_told(
    services: Services, client: FlaskClient
) -> None:
    url = f"/api/uploads/{add_job(services.store, '0-1').upload.id}/clip-list"

    read = client.post(url, json={"text": "0:01-0:02.5 Chorus\nlater\n00:00:03:15-end"})

    assert read.status_code == 200
    assert [(each["start"], each["end"], each["label"]) for each in read.json["clips"]] == [
        (1.0, 2.5, "Chorus"),
        (3.5, 60.0, ""),
    ]
    assert [(each["line"], each["text"]) for each in read.json["wrong"]] == [(2, "later")]
    assert len(services.store.jobs(10)) == 1


@pytest.mark.parametrize("text", ["", "# nothing", "0-1\n" * 2001, "0" * 50_001, None])
def test_what_is_no_list_is_refused(
    services: Services, client: FlaskClient, text: str | None
) -> None:
    url = f"/api/uploads/{add_job(services.store, '0-1').upload.id}/clip-list"

    refused = client.post(url, json={"text": text})

    assert refused.status_code == 422
    assert refused.content_type == "application/problem+json"
