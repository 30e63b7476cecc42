"""A job that is run again, whole or what failed of it, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

WANTED = {"clips": ["0-0.5 Intro", "0.5-1"], "aspects": ["9:16"], "fit": "blur", "still": True}
FINAL = ("done", "failed", "cancelled")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: WebServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60.0) as client:
        yield client


@pytest.fixture(scope="module")
def job(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("video")
    video = make_sample(folder / "song.mp4", seconds=1.0, size=(160, 90)).read_bytes()
    upload = client.post("/api/uploads?filename=song.mp4", content=video).json()
    made = client.post("/api/jobs", json={"upload_id": upload["id"], **WANTED}).json()
    return ended(client, made["id"])


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    def final() -> dict[str, Any] | None:
        found = client.get(f"/api/jobs/{job_id}").json()
        return found if found["state"] in FINAL else None

    return wait_for(final, 120.0, "the job ends")


def again(client: httpx.Client, job_id: str, query: str = "", key: str = "") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/api/jobs/{job_id}/again{query}", headers=headers)


def fail(server: WebServer, job: dict[str, Any], *positions: int) -> None:
    """Have steps of a job that ended be as if they had failed."""
    engine = sa.create_engine(f"sqlite:///{server.data_dir / 'cutmv.db'}")
    with engine.begin() as db:
        for position in positions:
            failed = sa.text(
                "update steps set state = 'failed', error = 'It broke.', output_key = null,"
                " percent = 40 where job_id = :job and position = :position"
            )
            db.execute(failed, {"job": job["id"], "position": position})
        whole = sa.text("update jobs set state = 'failed', error = 'It broke.' where id = :job")
        db.execute(whole, {"job": job["id"]})
    engine.dispose()


def asked(job: dict[str, Any]) -> list[Any]:
    """What each step of a job is to make."""
    return [
        (step["kind"], step["clip"], step["aspect"], step["fit"], step["position"])
        for step in job["steps"]
    ]


def test_a_job_that_is_run_again_makes_the_same_outputs_under_a_new_id(
    client: httpx.Client, job: dict[str, Any]
) -> None:
    answer = again(client, job["id"])

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/jobs/{answer.json()['id']}"
    made = ended(client, answer.json()["id"])
    assert made["id"] != job["id"]
    assert made["state"] == "done", made["error"]
    assert asked(made) == asked(job)
    names = [[step["output"]["name"] for step in each["steps"]] for each in (job, made)]
    assert names[0] == names[1]
    assert client.get(f"/api/jobs/{job['id']}").json() == job


@pytest.mark.slow
def test_what_failed_is_run_again_alone(
    server: WebServer, client: httpx.Client, job: dict[str, Any]
) -> None:
    broken = ended(client, again(client, job["id"]).json()["id"])
    assert again(client, broken["id"], "?only=failed").status_code == 422
    fail(server, broken, 1, 2)

    made = ended(client, again(client, broken["id"], "?only=failed").json()["id"])

    assert made["state"] == "done", made["error"]
    assert [step["clip"] for step in made["steps"]] == [
        broken["steps"][number]["clip"] for number in (1, 2)
    ]
    assert [step["output"]["name"] for step in made["steps"]] == [
        job["steps"][number]["output"]["name"] for number in (1, 2)
    ]


@pytest.mark.slow
def test_a_request_that_comes_again_makes_one_job(
    server: WebServer, client: httpx.Client, job: dict[str, Any]
) -> None:
    first, second = (again(client, job["id"], key="a key").json() for _ in range(2))
    assert first["id"] == second["id"]
    broken = ended(client, first["id"])
    fail(server, broken, 0)

    assert again(client, broken["id"], "?only=failed", key="a key").status_code == 422
    assert again(client, broken["id"], "?only=failed", key="another").status_code == 201


def test_what_is_not_there_can_not_be_run_again(client: httpx.Client, job: dict[str, Any]) -> None:
    assert again(client, "nothing").status_code == 404
    assert again(client, job["id"], "?only=some").status_code == 422
    assert again(client, job["id"], key="k" * 256).status_code == 400
