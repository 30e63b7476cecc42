"""An upload in parts: whatever breaks in the middle of it, it goes on, and is there once."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cutmv.config import Settings
from cutmv.dispatch import Janitor
from cutmv.jobs import UNFINISHED_AGE_S, MultipartUploads
from cutmv.jobs.tables import multipart_uploads
from cutmv.services import Services
from cutmv.storage import R2Storage, StorageError
from cutmv.web import create_app
from cutmv.web.state import web_of
from tests.support.media import make_sample
from tests.support.s3 import BUCKET, KEY_ID, SECRET

BEGIN = "/api/multipart-uploads"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of two parts, most of which players skip."""
    path = make_sample(tmp_path_factory.mktemp("video") / "s.mp4", seconds=1.0, size=(160, 90))
    skipped = os.urandom(17_000_000)
    return path.read_bytes() + struct.pack(">I4s", 8 + len(skipped), b"free") + skipped


@pytest.fixture(params=["local", "r2"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    env = {"CUTMV_DATA_DIR": str(tmp_path / "data")}
    if request.param == "r2":
        env |= {
            "R2_ENDPOINT_URL": request.getfixturevalue("s3_url"),
            "R2_BUCKET": BUCKET,
            "R2_ACCESS_KEY_ID": KEY_ID,
            "R2_SECRET_ACCESS_KEY": SECRET,
        }
    return env


@contextmanager
def server(env: dict[str, str]) -> Iterator[FlaskClient]:
    """A server that begins with what the one before has left."""
    app = create_app(Services.open(Settings.from_env(env)), addresses=["127.0.0.1"])
    yield app.test_client()
    web_of(app).close()
    web_of(app).services.store.close()


@pytest.fixture
def client(env: dict[str, str]) -> Iterator[FlaskClient]:
    with server(env) as client:
        yield client


def services_of(client: FlaskClient) -> Services:
    return web_of(client.application).services


def head(content: bytes) -> str:
    return base64.b64encode(content[:400]).decode()


def begin(client: FlaskClient, video: bytes, **more: Any) -> TestResponse:
    body = {"filename": "a/b/Song.mp4", "size": len(video), "head": head(video)}
    return client.post(BEGIN, json=body | more)


def send(client: FlaskClient, begun: dict[str, Any], number: int, video: bytes) -> dict[str, Any]:
    """Send a part as a browser does: to where the server says."""
    at = (number - 1) * begun["part_bytes"]
    body = video[at : at + begun["part_bytes"]]
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    asked = client.post(
        f"{BEGIN}/{begun['id']}/parts", json={"parts": [{"number": number, "md5": md5}]}
    )
    (told,) = asked.json["parts"]
    assert told["number"] == number
    assert told["headers"] == {"Content-MD5": md5}
    put: Callable[..., Any] = client.put
    assert told["direct"] == isinstance(services_of(client).storage, R2Storage)
    if told["direct"]:
        answer: Any = httpx.put(told["url"], content=body, headers=told["headers"])
    else:
        answer = put(told["url"], data=body, headers=told["headers"])
    assert answer.status_code == 200
    etag = answer.headers["ETag"].strip('"')
    assert etag == hashlib.md5(body).hexdigest()
    return {"number": number, "size": len(body), "etag": etag}


def test_it_goes_on_after_a_restart_and_completes_once(env: dict[str, str], video: bytes) -> None:
    with server(env) as client:
        answer = begin(client, video)
        assert answer.status_code == 201
        begun = answer.json
        assert (begun["filename"], begun["size"]) == ("Song.mp4", len(video))
        assert (begun["parts"], begun["stored"]) == (2, [])
        assert begun["expires_at"] - begun["created_at"] == UNFINISHED_AGE_S
        second = send(client, begun, 2, video)
        refused = client.post(f"{BEGIN}/{begun['id']}/complete")
        assert (refused.status_code, refused.json["missing"]) == (409, [1])
        assert client.get(f"/api/uploads/{begun['id']}").status_code == 404
    with server(env) as client:
        assert client.get(answer.location).json == begun | {"stored": [second]}
        assert client.get(BEGIN).json["uploads"] == [begun]
        first = send(client, begun, 1, video)
        assert send(client, begun, 1, video) == first
        assert client.get(answer.location).json["stored"] == [first, second]
        made = client.post(f"{BEGIN}/{begun['id']}/complete")
        assert made.status_code == 201
        assert (made.json["id"], made.json["filename"]) == (begun["id"], "Song.mp4")
        assert (made.json["size"], made.json["video"]["width"]) == (len(video), 160)
        # The answer was lost, and the client asks again.
        assert client.post(f"{BEGIN}/{begun['id']}/complete").json == made.json
        with client.get(made.json["url"] + "?download=") as content:
            assert hashlib.md5(content.data).digest() == hashlib.md5(video).digest()
        assert client.get(answer.location).status_code == 404
        assert client.get(BEGIN).json["uploads"] == []


def test_a_server_that_dies_when_all_is_joined_leaves_an_upload_to_complete(
    client: FlaskClient, video: bytes
) -> None:
    begun = begin(client, video).json
    for number in (1, 2):
        send(client, begun, number, video)
    services = services_of(client)
    uploads = MultipartUploads(services.store, services.storage)
    found = uploads.get(begun["id"])
    # What of it is done when the server dies.
    services.storage.multipart.complete(found.key, found.storage_id, uploads.parts(found))
    Janitor(web_of(client.application).dispatcher).sweep()

    made = client.post(f"{BEGIN}/{begun['id']}/complete")

    assert made.status_code == 201
    assert made.json["size"] == len(video)


def test_a_part_is_taken_whole_and_as_it_was_told_or_not_at_all(
    client: FlaskClient, video: bytes
) -> None:
    begun = begin(client, video).json
    url = f"{BEGIN}/{begun['id']}/parts/2"
    body = video[begun["part_bytes"] :]
    other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for at, sent, headers, status, detail in (
        (url, body[:-1], {}, 400, "Part 2 has"),
        (url, body + b"x", {}, 400, "Part 2 has"),
        (url, body, {"Content-MD5": other}, 400, "Send it again"),
        (url, body, {"Content-MD5": "!"}, 400, "Content-MD5 must be"),
        (url, body, {"Transfer-Encoding": "chunked"}, 411, "its Content-Length"),
        (f"{BEGIN}/{begun['id']}/parts/3", body, {}, 422, "its parts are 1 to 2"),
        (f"{BEGIN}/{begun['id']}/parts/0", body, {}, 422, "its parts are 1 to 2"),
        (f"{BEGIN}/none/parts/1", body, {}, 404, "no upload none"),
    ):
        with client.put(at, data=sent, headers=headers) as answer:
            assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
            assert detail in answer.json["detail"]
    assert client.get(f"{BEGIN}/{begun['id']}").json["stored"] == []
    # Where a browser can't reach the storage itself, the part comes by us.
    parts = {"parts": [{"number": 2}], "direct": False}
    (told,) = client.post(f"{BEGIN}/{begun['id']}/parts", json=parts).json["parts"]
    assert told == {"number": 2, "url": url, "headers": {}, "direct": False}
    sent = client.put(url, data=body)
    assert (sent.status_code, sent.json.get("size")) == (200, len(body)), sent.json


def test_what_is_no_video_is_refused_before_it_travels_and_at_the_end(
    client: FlaskClient, video: bytes
) -> None:
    refused = begin(client, video, head=head(b"MZ" + bytes(1000)))
    assert refused.status_code == 415
    assert begin(client, video, head="").status_code == 422
    assert begin(client, video, head="?").status_code == 422
    # A film's first bytes, and nothing else of it.
    damaged = video[:400] + b"?" * 100_000
    begun = begin(client, damaged).json
    send(client, begun, 1, damaged)
    assert client.post(f"{BEGIN}/{begun['id']}/complete").status_code == 422
    # Another file than was told.
    begun = begin(client, bytes(1000), head=head(video)).json
    send(client, begun, 1, bytes(1000))
    assert client.post(f"{BEGIN}/{begun['id']}/complete").status_code == 415
    assert client.get(BEGIN).json["uploads"] == []
    assert client.post(f"{BEGIN}/{begun['id']}/complete").status_code == 404


def test_an_upload_that_is_given_up_or_forgotten_leaves_nothing(
    client: FlaskClient, video: bytes
) -> None:
    begun, forgotten = begin(client, video).json, begin(client, video).json
    for each in (begun, forgotten):
        send(client, each, 1, video)
    assert client.delete(f"{BEGIN}/{begun['id']}").status_code == 204
    assert client.delete(f"{BEGIN}/{begun['id']}").status_code == 404
    janitor = Janitor(web_of(client.application).dispatcher)
    janitor.sweep()
    assert [each["id"] for each in client.get(BEGIN).json["uploads"]] == [forgotten["id"]]
    engine = services_of(client).store.engine
    with engine.begin() as db:
        db.execute(multipart_uploads.update().values(created_at=1.0))
    janitor.sweep()
    assert client.get(BEGIN).json["uploads"] == []
    folder = services_of(client).settings.data_dir / "files"
    assert not [each for each in folder.rglob("*") if each.is_file()]


def test_one_that_can_not_be_deleted_holds_up_no_other(
    tmp_path: Path, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server({"CUTMV_DATA_DIR": str(tmp_path)}) as client:
        older, newer = begin(client, video).json, begin(client, video).json
        services = services_of(client)
        stuck = MultipartUploads(services.store, services.storage).get(newer["id"]).storage_id
        abort = services.storage.multipart.abort

        def abort_others(key: str, upload_id: str) -> None:
            if upload_id == stuck:
                raise StorageError("The storage can't delete.")
            abort(key, upload_id)

        monkeypatch.setattr(services.storage.multipart, "abort", abort_others)
        with services.store.engine.begin() as db:
            db.execute(multipart_uploads.update().values(created_at=1.0))
        Janitor(web_of(client.application).dispatcher).sweep()
        assert [each["id"] for each in client.get(BEGIN).json["uploads"]] == [newer["id"]]
        assert older["id"] != newer["id"]


def test_one_key_begins_one_upload(client: FlaskClient, video: bytes) -> None:
    key = {"headers": {"Idempotency-Key": "mine"}}
    body = {"filename": "a.mp4", "size": len(video), "head": head(video)}
    first = client.post(BEGIN, json=body, **key)
    assert client.post(BEGIN, json=body, **key).json == first.json
    assert len(client.get(BEGIN).json["uploads"]) == 1
    assert client.post(BEGIN, json=body | {"size": 9}, **key).status_code == 422


def test_a_file_that_is_too_large_is_refused_before_it_travels(
    tmp_path: Path, video: bytes
) -> None:
    env = {"CUTMV_DATA_DIR": str(tmp_path), "CUTMV_MAX_UPLOAD_BYTES": "1000000"}
    with server(env) as client:
        assert begin(client, video).status_code == 413
