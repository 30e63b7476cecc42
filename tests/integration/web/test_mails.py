"""Mails of jobs that have ended, asked for over HTTP of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cutmv.config import Settings
from cutmv.services import Services
from tests.support.mail import MailServer, mail_server
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def somebody(server: WebServer, name: str | None) -> httpx.Client:
    """A person of a server, with an address or without."""
    env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
    services = Services.open(Settings.from_env(env))
    person = services.accounts.add(name and f"{name}@example.com", name="somebody")
    _, secret = services.api_keys.add(str(person.id), "a test's")
    services.store.close()
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60.0)


def make_job(person: httpx.Client, folder: Path) -> str:
    video = make_sample(folder / "v.mp4", seconds=1.0, size=(160, 90)).read_bytes()
    upload = person.post("/api/uploads?filename=my song.mp4", content=video).json()
    wanted = {"upload_id": upload["id"], "clips": ["0-0.5"]}
    return str(person.post("/api/jobs", json=wanted).json()["id"])


@pytest.mark.slow
def test_a_mail_comes_when_a_job_has_ended_to_who_asked_for_it(
    tmp_path: Path, mails: MailServer
) -> None:
    env = {
        "CUTMV_SIGN_IN": "always",
        "CUTMV_SMTP_URL": mails.url,
        "CUTMV_URL": "https://cutmv.example.com",
        "CUTMV_HOSTS": "127.0.0.1",
    }
    with web_server(tmp_path, **env) as server:
        ann, bob = somebody(server, "ann"), somebody(server, "bob")
        silent, job_id = make_job(ann, tmp_path), make_job(ann, tmp_path)
        assert bob.put(f"/api/jobs/{job_id}/mail").status_code == 404

        assert ann.put(f"/api/jobs/{job_id}/mail").status_code == 204

        mail = wait_for(lambda: next(iter(mails.mails), None), 120.0, "the mail comes")
        assert (mail["To"], mail["Subject"]) == ("ann@example.com", "my song.mp4 is done")
        assert f"https://cutmv.example.com/#{job_id}" in str(mail.get_payload())
        wait_for(lambda: not ann.get(f"/api/jobs/{job_id}").json()["mail"], 30.0, "that is noted")
        assert ann.put(f"/api/jobs/{silent}/mail").status_code == 204
        assert ann.delete(f"/api/jobs/{silent}/mail").status_code == 204
        nameless = somebody(server, None)
        of_nameless = make_job(nameless, tmp_path)
        assert nameless.put(f"/api/jobs/{of_nameless}/mail").status_code == 404


def test_a_server_without_mail_says_so(tmp_path: Path) -> None:
    with web_server(tmp_path) as server, httpx.Client(base_url=server.url, timeout=60.0) as me:
        job_id = make_job(me, tmp_path)

        answer = me.put(f"/api/jobs/{job_id}/mail")

    assert (answer.status_code, answer.json()["detail"]) == (404, "This server sends no mail.")
