"""All that a job has made as one ZIP, over HTTP, whole and by ranges, from both storages."""

from __future__ import annotations

import io
import subprocess
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.web_server import WebServer, web_server

#: Labels that Windows, or somebody's file system, would not have in a name, or takes for one.
CLIPS = ["0-0.5 CON", "0.5-1 a:b/c", "1-1.5 Größe?", "1.5-2 GRÖSSE?", "0-1"]


@pytest.fixture(scope="module", params=["local", pytest.param("r2", marks=pytest.mark.slow)])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebServer]:
    env = {}
    if request.param == "r2":
        env = {
            "R2_ENDPOINT_URL": request.getfixturevalue("s3_url"),
            "R2_BUCKET": BUCKET,
            "R2_ACCESS_KEY_ID": KEY_ID,
            "R2_SECRET_ACCESS_KEY": SECRET,
        }
    with web_server(tmp_path_factory.mktemp("web"), **env) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: WebServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60.0) as client:
        yield client


@pytest.fixture(scope="module")
def job(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_job(client, tmp_path_factory.mktemp("video"))


def make_job(client: httpx.Client, folder: Path) -> dict[str, Any]:
    """A job that has ended."""
    video = make_sample(folder / "a song.mp4", seconds=2.0, size=(160, 90))
    upload = client.post("/api/uploads?filename=a song.mp4", content=video.read_bytes()).json()
    wanted = {"upload_id": upload["id"], "clips": CLIPS, "still": True}
    job_id = client.post("/api/jobs", json=wanted).json()["id"]

    def ended() -> dict[str, Any] | None:
        found = client.get(f"/api/jobs/{job_id}").json()
        return found if found["state"] == "done" else None

    return wait_for(ended, 120.0, "the job ends")


def archive(client: httpx.Client, job: dict[str, Any], **headers: str) -> httpx.Response:
    return client.get(f"/api/jobs/{job['id']}/outputs.zip", headers=headers)


def test_a_zip_has_a_length_and_readable_names_and_all_outputs(
    client: httpx.Client, job: dict[str, Any], tmp_path: Path
) -> None:
    answer = archive(client, job)

    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "filename=a_song-clips.zip" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        names = made.namelist()
        assert names == [step["output"]["name"] for step in job["steps"]]
        assert len({name.casefold() for name in names}) == len(names) == 10
        assert names[::2] == [
            "a_song-CON-source.mp4",
            "a_song-a_b_c-source.mp4",
            "a_song-Größe-source.mp4",
            "a_song-GRÖSSE-2-source.mp4",
            "a_song-05-source.mp4",
        ]
        for step in job["steps"]:
            assert made.read(step["output"]["name"]) == client.get(step["output"]["url"]).content
    (tmp_path / "all.zip").write_bytes(answer.content)
    assert subprocess.run(["unzip", "-tq", "all.zip"], cwd=tmp_path).returncode == 0


def test_a_download_that_breaks_goes_on_where_it_was(
    client: httpx.Client, job: dict[str, Any]
) -> None:
    whole = archive(client, job)
    size, etag = len(whole.content), whole.headers["ETag"]
    cuts = [0, 1, 29, 30, 31, size // 3, size // 2, size - 23, size - 1, size]

    pieces = [
        archive(client, job, Range=f"bytes={since}-{until - 1}", **{"If-Range": etag})
        for since, until in pairwise(cuts)
    ]

    assert {piece.status_code for piece in pieces} == {206}
    assert pieces[3].headers["Content-Range"] == f"bytes 30-30/{size}"
    assert b"".join(piece.content for piece in pieces) == whole.content
    rest = archive(client, job, Range=f"bytes={size - 100}-", **{"If-Range": etag})
    assert rest.content == whole.content[-100:]
    assert archive(client, job, Range="bytes=-22").content[:4] == b"PK\x05\x06"
    outside = archive(client, job, Range=f"bytes={size}-")
    assert (outside.status_code, outside.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert archive(client, job, **{"If-None-Match": etag}).status_code == 304
    head = client.head(f"/api/jobs/{job['id']}/outputs.zip")
    assert (head.headers["Content-Length"], head.content) == (str(size), b"")


@pytest.mark.slow
def test_a_zip_that_has_changed_is_sent_whole(client: httpx.Client, tmp_path: Path) -> None:
    job = make_job(client, tmp_path)
    etag = archive(client, job).headers["ETag"]
    gone = job["steps"][0]["output"]
    assert client.delete(gone["url"]).status_code == 204

    again = archive(client, job, Range="bytes=100-", **{"If-Range": etag})

    assert again.status_code == 200
    assert again.headers["ETag"] != etag
    with zipfile.ZipFile(io.BytesIO(again.content)) as made:
        assert gone["name"] not in made.namelist()
        assert made.testzip() is None
    for step in job["steps"][1:]:
        client.delete(step["output"]["url"])
    assert archive(client, job).status_code == 404


def test_what_an_earlier_version_made_gets_its_checksum_once(
    server: WebServer, client: httpx.Client, job: dict[str, Any]
) -> None:
    whole = archive(client, job)
    engine = sa.create_engine(f"sqlite:///{server.data_dir / 'cutmv.db'}")

    def told() -> list[int | None]:
        with engine.begin() as db:
            rows = db.exec_driver_sql(
                "select output_crc32 from steps where job_id = ?", (job["id"],)
            )
            return [row[0] for row in rows]

    before = told()
    assert None not in before
    with engine.begin() as db:
        db.exec_driver_sql("update steps set output_crc32 = null where job_id = ?", (job["id"],))

    again = archive(client, job)

    assert (again.content, again.headers["ETag"]) == (whole.content, whole.headers["ETag"])
    assert told() == before
    engine.dispose()


@pytest.mark.slow
def test_there_is_none_of_a_job_that_runs_or_of_which_a_file_is_lost(
    server: WebServer, client: httpx.Client, tmp_path: Path
) -> None:
    job = make_job(client, tmp_path)
    wanted = {"upload_id": job["upload"]["id"], "clips": ["0-2"] * 30, "aspects": ["9:16"]}
    running = client.post("/api/jobs", json=wanted).json()
    early = archive(client, running)
    assert (early.status_code, early.json()["title"]) == (404, "Not Found")
    client.post(f"/api/jobs/{running['id']}/cancel")

    if files := [
        path for path in server.stored() if path.name == job["steps"][0]["output"]["name"]
    ]:
        for path in files:
            path.unlink()
        assert archive(client, job).status_code == 404
