"""The HTTP API of a real server, in eager mode, on a real storage and database."""

from __future__ import annotations

import http.client
import json
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from cutmv.progress import WEBHOOK
from cutmv.transports.cloudflare.edge.signature import sign
from cutmv.web.api.models import JobOut, MadeOut, UploadOut
from cutmv.web.checks import INTERVAL_S
from cutmv.web.connections import HEAD_TIMEOUT_S
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import WEBHOOK_SECRET, WebServer, web_server

#: Bytes of the largest upload that the server takes.
LIMIT = 50_000_000


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=4.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("web")
    with web_server(folder, CUTMV_MAX_UPLOAD_BYTES=str(LIMIT)) as running:
        yield running


@pytest.fixture
def client(server: WebServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60.0) as client:
        yield client


@pytest.fixture(scope="module")
def upload(server: WebServer, video: Path) -> dict[str, Any]:
    answer = httpx.post(
        f"{server.url}/api/uploads?filename=song.mp4", content=video.read_bytes(), timeout=60.0
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def done_job(server: WebServer, upload: dict[str, Any]) -> dict[str, Any]:
    wanted = {"upload_id": upload["id"], "clips": ["0.5-1.5"], "still": True}
    job = httpx.post(f"{server.url}/api/jobs", json=wanted, timeout=60.0).json()
    return ended(server, job["id"])


def ended(server: WebServer, job_id: str) -> dict[str, Any]:
    def final() -> dict[str, Any] | None:
        job = httpx.get(f"{server.url}/api/jobs/{job_id}", timeout=30.0).json()
        return job if job["state"] in ("done", "failed", "cancelled") else None

    return wait_for(final, 120.0, "the job ends")


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem that an answer tells; every error must be one, with one line for people."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = dict(answer.json())
    assert body["status"] == answer.status_code
    assert body["title"] and body["detail"] and "\n" not in body["detail"]
    return body


# Uploads


def test_an_upload_is_kept_and_described(
    client: httpx.Client, upload: dict[str, Any], video: Path
) -> None:
    UploadOut.model_validate(upload)
    assert upload["filename"] == "song.mp4"
    assert upload["size"] == video.stat().st_size
    assert upload["duration_s"] == pytest.approx(4.0, abs=0.1)
    assert upload["video"] == {"width": 640, "height": 360, "frame_rate": 30.0}
    assert upload["audio"] is True
    assert client.get(f"/api/uploads/{upload['id']}").json() == upload
    assert client.get(upload["url"]).content == video.read_bytes()


def test_a_form_gives_the_same_upload_as_a_raw_body(client: httpx.Client, video: Path) -> None:
    with video.open("rb") as file:
        answer = client.post("/api/uploads", files={"file": ("a form.mp4", file, "video/mp4")})

    assert answer.status_code == 201
    assert answer.json()["filename"] == "a form.mp4"
    assert client.get(answer.headers["Location"]).json() == answer.json()
    assert client.get(answer.json()["url"]).content == video.read_bytes()


def test_a_chunked_body_without_a_length_is_kept_whole(client: httpx.Client, video: Path) -> None:
    pieces = (piece for piece in [video.read_bytes()[:1000], video.read_bytes()[1000:]])

    answer = client.post("/api/uploads?filename=a.mp4", content=pieces)

    assert answer.status_code == 201
    assert answer.json()["size"] == video.stat().st_size


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        (b"", 400, "empty"),
        (b"%PDF-1.7 not a video at all" * 100, 415, "we can read"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "we can read"),
    ],
)
def test_what_is_no_video_is_refused_and_not_kept(
    client: httpx.Client, server: WebServer, body: bytes, status: int, line: str
) -> None:
    kept = server.stored()

    answer = client.post("/api/uploads?filename=a.mp4", content=body)

    assert answer.status_code == status
    assert line in problem(answer)["detail"]
    assert server.stored() == kept


def test_a_video_that_is_cut_short_is_refused_and_not_kept(
    client: httpx.Client, server: WebServer, video: Path
) -> None:
    kept = server.stored()

    answer = client.post("/api/uploads", content=video.read_bytes()[: video.stat().st_size // 2])

    assert answer.status_code == 422
    assert problem(answer)["detail"]
    assert server.stored() == kept


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_file_over_the_limit_is_refused_and_not_kept(
    client: httpx.Client, server: WebServer, video: Path, announced: bool
) -> None:
    kept = server.stored()
    head = video.read_bytes()
    body = head + b"\0" * (LIMIT + 1 - len(head))
    pieces = (body[at : at + 10**6] for at in range(0, len(body), 10**6))

    answer = client.post("/api/uploads", content=body if announced else pieces)

    assert answer.status_code == 413
    assert "50 MB" in problem(answer)["detail"]
    assert server.stored() == kept


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_client_that_hangs_up_leaves_nothing(
    server: WebServer, video: Path, announced: bool
) -> None:
    kept = sorted(server.stored())
    address = urlsplit(server.url)
    half = video.read_bytes()[: video.stat().st_size // 2] * 20
    length = f"Content-Length: {len(half) * 2}" if announced else "Transfer-Encoding: chunked"
    head = (
        f"POST /api/uploads?filename=a.mp4 HTTP/1.1\r\nHost: {address.netloc}\r\n{length}\r\n\r\n"
    )
    body = half if announced else b"%x\r\n%s\r\n" % (len(half), half)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_for(lambda: len(server.stored()) > len(kept), 10.0, "the upload has begun")

    wait_for(lambda: sorted(server.stored()) == kept, 10.0, "the half of a file is gone")


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_an_upload_that_is_cancelled_before_its_first_byte_may_come_again(
    client: httpx.Client, server: WebServer, video: Path, announced: bool
) -> None:
    kept, content = sorted(server.stored()), video.read_bytes()
    address, key = urlsplit(server.url), uuid.uuid4().hex
    length = f"Content-Length: {len(content)}" if announced else "Transfer-Encoding: chunked"
    head = f"POST /api/uploads HTTP/1.1\r\nHost: {address.netloc}\r\nIdempotency-Key: {key}\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.settimeout(30.0)
        connection.sendall(f"{head}{length}\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert sorted(server.stored()) == kept
    again = client.post("/api/uploads", content=content, headers={"Idempotency-Key": key})
    assert again.status_code == 201
    upload = again.json()["url"].removesuffix("/content")
    assert [client.delete(upload).status_code for _ in range(2)] == [204, 404]
    assert sorted(server.stored()) == kept


def test_an_upload_is_never_whole_in_memory(client: httpx.Client, server: WebServer) -> None:
    worker = psutil.Process(server.process.child.pid).children()[0]
    before = worker.memory_info().rss
    head = b"\0\0\0\x20ftypisom" + b"\0" * 4096
    pieces = [head, *[b"\0" * 1_000_000] * 48]
    highest = 0

    def watched() -> Iterator[bytes]:
        nonlocal highest
        for piece in pieces:
            highest = max(highest, worker.memory_info().rss)
            yield piece

    answer = client.post("/api/uploads", content=watched())

    assert answer.status_code == 422
    assert highest - before < 20_000_000


# Files


def test_an_output_tells_how_it_was_made(done_job: dict[str, Any]) -> None:
    output = done_job["steps"][0]["output"]

    made = MadeOut.model_validate(output["made"])

    assert made.size_bytes == output["size"]
    assert made.frames > 0
    assert sum(made.seconds.values()) > 0


def test_an_output_is_served_whole_and_to_be_saved(
    client: httpx.Client, done_job: dict[str, Any]
) -> None:
    output = done_job["steps"][0]["output"]

    shown, saved = client.get(output["url"]), client.get(output["url"], params={"download": "1"})

    assert shown.status_code == saved.status_code == 200
    assert len(shown.content) == output["size"] == int(shown.headers["Content-Length"])
    assert shown.headers["Content-Type"] == "video/mp4"
    assert shown.headers["Content-Disposition"].startswith("inline")
    assert saved.headers["Content-Disposition"].startswith("attachment")
    assert output["name"] in saved.headers["Content-Disposition"]
    assert saved.content == shown.content


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, None),
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=-99999999", 0, None),
        ("bytes=10-99999999", 10, None),
    ],
)
def test_a_range_gives_exactly_its_bytes(
    client: httpx.Client, done_job: dict[str, Any], asked: str, start: int, end: int | None
) -> None:
    url = done_job["steps"][0]["output"]["url"]
    whole = client.get(url).content

    answer = client.get(url, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == whole[start:end]
    first = start if start >= 0 else len(whole) + start
    last = first + len(answer.content) - 1
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999998-99999999"])
def test_a_range_outside_of_the_file_is_refused_with_its_size(
    client: httpx.Client, done_job: dict[str, Any], asked: str
) -> None:
    output = done_job["steps"][0]["output"]

    answer = client.get(output["url"], headers={"Range": asked})

    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{output['size']}"
    problem(answer)


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "nonsense"])
def test_a_range_that_is_not_understood_gives_the_whole_file(
    client: httpx.Client, done_job: dict[str, Any], asked: str
) -> None:
    output = done_job["steps"][0]["output"]

    answer = client.get(output["url"], headers={"Range": asked})

    assert answer.status_code == 200
    assert len(answer.content) == output["size"]


def test_a_head_request_has_the_headers_and_no_body(
    client: httpx.Client, done_job: dict[str, Any]
) -> None:
    output = done_job["steps"][0]["output"]

    answer = client.head(output["url"])

    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == output["size"]
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.content == b""


def test_a_file_that_the_client_has_is_not_sent_again(
    client: httpx.Client, done_job: dict[str, Any]
) -> None:
    url = done_job["steps"][0]["output"]["url"]
    etag = client.get(url).headers["ETag"]

    same = client.get(url, headers={"If-None-Match": etag})
    resumed = client.get(url, headers={"If-Range": etag, "Range": "bytes=1-2"})
    stale = client.get(url, headers={"If-Range": '"another"', "Range": "bytes=1-2"})

    assert (same.status_code, same.content) == (304, b"")
    assert (resumed.status_code, stale.status_code) == (206, 200)


def test_a_player_gets_a_large_file_in_parts(client: httpx.Client, server: WebServer) -> None:
    from cutmv.web.api.contents import PLAYER_BYTES

    video = make_sample(server.data_dir / "large.mp4", seconds=4.0)
    # A trailing box that players skip makes the file large.
    padding = PLAYER_BYTES + 1000
    body = video.read_bytes() + (padding + 8).to_bytes(4, "big") + b"free" + b"\0" * padding
    upload = client.post("/api/uploads", content=body).json()
    player = {"Range": "bytes=0-", "Sec-Fetch-Dest": "video"}

    answer = client.get(upload["url"], headers=player)

    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes 0-{PLAYER_BYTES - 1}/{len(body)}"
    assert answer.content == body[:PLAYER_BYTES]
    assert len(client.get(upload["url"], headers={"Range": "bytes=0-"}).content) == len(body)


# Jobs


def test_a_job_is_made_listed_and_done(
    client: httpx.Client, done_job: dict[str, Any], upload: dict[str, Any]
) -> None:
    JobOut.model_validate(done_job)
    assert done_job["state"] == "done"
    assert done_job["percent"] == 100.0
    assert done_job["mode"] == "eager"
    assert done_job["upload"]["id"] == upload["id"]
    assert [step["kind"] for step in done_job["steps"]] == ["cutdown", "still"]
    assert done_job in client.get("/api/jobs", params={"limit": 100}).json()["jobs"]


def test_uploads_are_listed_in_pages_newest_first(client: httpx.Client, video: Path) -> None:
    content = video.read_bytes()
    sent = [client.post("/api/uploads", content=content).json() for _ in range(3)]

    first = client.get("/api/uploads", params={"limit": 2}).json()
    second = client.get("/api/uploads", params={"limit": 2, "before": first["next_before"]}).json()

    assert [each["id"] for each in first["uploads"]] == [sent[2]["id"], sent[1]["id"]]
    assert first["uploads"][0] == client.get(f"/api/uploads/{sent[2]['id']}").json()
    assert second["uploads"][0]["id"] == sent[0]["id"]


def test_the_list_comes_in_pages_newest_first(client: httpx.Client, upload: dict[str, Any]) -> None:
    wanted = {"upload_id": upload["id"], "clips": ["1-1.2"]}
    made = [client.post("/api/jobs", json=wanted).json()["id"] for _ in range(3)]

    first = client.get("/api/jobs", params={"limit": 2}).json()
    second = client.get("/api/jobs", params={"limit": 2, "before": first["next_before"]}).json()

    seen = [job["id"] for job in first["jobs"] + second["jobs"]]
    assert seen[:3] == made[::-1]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("change", "status", "line"),
    [
        ({"clips": ["3-1"]}, 422, ""),
        ({"clips": ["100-200"]}, 422, ""),
        ({"clips": ["soon-later"]}, 422, ""),
        ({"clips": []}, 422, "clips"),
        ({"clip_list": "0-1 a\nsoon"}, 422, "Line 2 can't be read, 'soon'"),
        ({"clip_list": "0-1\n" * 20_000}, 422, "clip_list"),
        ({"clips": "1-2"}, 422, "clips"),
        ({"colour": "red"}, 422, "colour: there is no such field"),
        ({"aspects": ["4:3"]}, 422, "aspects.0"),
        ({"aspects": []}, 422, ""),
        ({"gif": "yes"}, 422, "gif"),
        ({"upload_id": None}, 422, "upload_id"),
        ({"upload_id": "unknown"}, 404, "upload"),
    ],
)
def test_a_wrong_job_is_refused_with_a_line_that_says_why(
    client: httpx.Client, upload: dict[str, Any], change: dict[str, Any], status: int, line: str
) -> None:
    before = latest_job(client)

    answer = client.post("/api/jobs", json={"upload_id": upload["id"], "clips": ["1-2"], **change})

    assert answer.status_code == status, answer.text
    assert line in problem(answer)["detail"]
    assert latest_job(client) == before


def latest_job(client: httpx.Client) -> list[str]:
    return [job["id"] for job in client.get("/api/jobs", params={"limit": 1}).json()["jobs"]]


def test_a_cancelled_job_ends_and_cancelling_again_changes_nothing(
    client: httpx.Client, server: WebServer, upload: dict[str, Any]
) -> None:
    wanted = {"upload_id": upload["id"], "clips": ["0-4"] * 20, "aspects": ["9:16", "1:1"]}
    job = client.post("/api/jobs", json=wanted).json()

    cancelled = client.post(f"/api/jobs/{job['id']}/cancel")
    again = client.post(f"/api/jobs/{job['id']}/cancel")

    assert cancelled.status_code == again.status_code == 200
    assert cancelled.json()["state"] == again.json()["state"] == "cancelled"
    work = server.data_dir / "work"
    wait_for(lambda: not any(work.iterdir()), 20.0, "no partial file is left")


def test_an_output_that_is_not_there_says_so(
    client: httpx.Client, done_job: dict[str, Any]
) -> None:
    answer = client.get(f"/api/jobs/{done_job['id']}/outputs/other.mp4")

    assert answer.status_code == 404
    assert "other.mp4" in problem(answer)["detail"]


# Deleting


def test_outputs_jobs_and_uploads_are_deleted_for_good(
    client: httpx.Client, server: WebServer, video: Path
) -> None:
    upload = client.post("/api/uploads?filename=private.mp4", content=video.read_bytes()).json()
    wanted = {"upload_id": upload["id"], "clips": ["0-1", "1-2"]}
    job = ended(server, client.post("/api/jobs", json=wanted).json()["id"])
    first, second = (step["output"] for step in job["steps"])
    before = {path for path in server.stored() if job["id"] in path.parts}

    assert client.delete(first["url"]).status_code == 204
    assert client.get(first["url"]).status_code == 404
    assert "was deleted" in client.get(first["url"]).json()["detail"]
    assert client.get(second["url"]).status_code == 200
    left = {path for path in server.stored() if job["id"] in path.parts}
    assert [path.name for path in before - left] == [first["name"]]
    assert client.delete(first["url"]).status_code == 404

    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert client.get(upload["url"]).status_code == 200
    again = client.post("/api/jobs", json=wanted).json()

    assert client.delete(f"/api/uploads/{upload['id']}").status_code == 204
    for path in (f"/api/jobs/{again['id']}", f"/api/uploads/{upload['id']}", upload["url"]):
        assert client.get(path).status_code == 404, path
    assert client.post("/api/jobs", json=wanted).status_code == 404
    wait_for(lambda: not [p for p in server.stored() if again["id"] in p.parts], 30.0)


# Errors, origins, headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/jobs/unknown", 404),
        ("GET", "/api/jobs/%00", 404),
        ("DELETE", "/api/jobs/unknown", 404),
        ("POST", "/api/jobs/unknown/cancel", 404),
        ("DELETE", "/api/jobs/unknown/outputs/none.mp4", 404),
        ("DELETE", "/api/uploads/unknown", 404),
        ("GET", "/api/uploads/unknown", 404),
        ("GET", "/api/uploads/unknown/content", 404),
        ("PUT", "/api/jobs", 405),
        ("GET", "/api/jobs?limit=0", 422),
        ("GET", "/api/jobs?page=2", 422),
        ("GET", "/api/jobs?before=nan", 422),
        ("GET", "/api/jobs?before=-inf", 422),
        ("GET", "/api/uploads/unknown/suggestions?length_s=inf", 422),
        ("GET", "/ws/jobs/unknown", 400),
        ("GET", "/static/../state.py", 404),
    ],
)
def test_each_error_is_a_problem(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    problem(answer)
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_number_that_is_none_is_refused(client: httpx.Client, upload: dict[str, Any]) -> None:
    body = f'{{"upload_id": "{upload["id"]}", "clips": ["0-1"], "fade_s": Infinity}}'
    kind = {"Content-Type": "application/json"}

    answer = client.post("/api/jobs", content=body, headers=kind)

    assert answer.status_code == 422
    assert problem(answer)["detail"].startswith("fade_s: ")


def test_a_body_that_is_no_json_is_refused(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}

    broken = client.post("/api/jobs", content="{", headers=headers)
    deep = client.post("/api/jobs", content="[" * 100_000, headers=headers)
    other = client.post("/api/jobs", content="clips=1", headers={"Content-Type": "text/plain"})
    large = client.post("/api/jobs", content=b" " * 2_000_000, headers=headers)

    answers = (broken, deep, other, large)
    assert [answer.status_code for answer in answers] == [400, 400, 415, 413]
    for answer in answers:
        problem(answer)


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://renamed.example"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_pages_of_other_sites_change_nothing(
    client: httpx.Client, headers: dict[str, str], accepted: bool
) -> None:
    answer = client.delete("/api/jobs/unknown", headers=headers)

    assert answer.status_code == (404 if accepted else 403)
    problem(answer)


def test_the_servers_own_pages_may_change_things(client: httpx.Client, server: WebServer) -> None:
    assert client.delete("/api/jobs/unknown", headers={"Origin": server.url}).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/jobs", "/nothing", "/static/main.js"])
def test_every_answer_has_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize(
    ("path", "status"), [("/api/jobs", 200), ("/api/queue-status", 200), ("/api/jobs/none", 404)]
)
def test_no_browser_keeps_an_answer_of_the_api(
    client: httpx.Client, path: str, status: int
) -> None:
    answer = client.get(path)

    assert answer.status_code == status
    assert answer.headers["Cache-Control"] == "no-store"


# Status, webhook, metrics, description


def test_the_queue_status_has_the_documented_fields(client: httpx.Client) -> None:
    status = client.get("/api/queue-status").json()

    assert status["configured"] is False
    assert status["mode"] == "eager"
    assert {"healthy", "message"} <= status.keys()
    assert status["unwell_threads"] == []


def signed(body: bytes, webhook_id: str, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    import time

    now = int(time.time())
    return {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secret, WEBHOOK, webhook_id, now, body),
    }


def test_a_signed_webhook_is_taken_once(client: httpx.Client) -> None:
    body = json.dumps({"events": [{"uuid": "s", "job_id": "j", "percent": 5.0}]}).encode()
    headers = signed(body, "msg_once")

    first = client.post("/api/queue-progress", content=body, headers=headers)
    replay = client.post("/api/queue-progress", content=body, headers=headers)

    assert (first.status_code, first.content) == (204, b"")
    assert replay.status_code == 409
    problem(replay)


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1,é".encode("latin-1")},
        {"webhook-timestamp": "9" * 5_000},
        {"webhook-id": "é".encode("latin-1")},
    ],
    ids=["none", "wrong", "no ASCII", "no date", "another id"],
)
def test_a_webhook_not_signed_by_us_is_refused(
    client: httpx.Client, wrong: dict[str, str | bytes]
) -> None:
    body = b'{"events": []}'
    headers = httpx.Headers({**signed(body, "msg_wrong"), **wrong})

    answer = client.post("/api/queue-progress", content=body, headers=headers)

    assert answer.status_code == 401
    problem(answer)


def test_it_is_healthy_until_its_storage_fails(tmp_path: Path) -> None:
    with web_server(tmp_path) as server:
        well = httpx.get(f"{server.url}/healthz")
        files = server.data_dir / "files"
        files.rename(server.data_dir / "away")
        files.write_text("a file where the folder should be")

        def ill() -> httpx.Response | None:
            answer = httpx.get(f"{server.url}/healthz")
            return answer if answer.status_code == 503 else None

        told = wait_for(ill, 2 * INTERVAL_S + 5, "it says that it is unwell")

    assert (well.status_code, well.json()["status"]) == (200, "ok")
    assert told.json()["checks"] == {"database": "ok", "storage": "failing"}
    assert str(server.data_dir) not in told.text


def test_the_metrics_count_requests_and_jobs(
    client: httpx.Client, done_job: dict[str, Any]
) -> None:
    def sample(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    seen = 'cutmv_http_requests_total{method="GET",route="/api/jobs/<job_id>",status="404"}'
    before = sample(seen)
    client.get("/api/jobs/unknown")

    assert sample(seen) == before + 1
    for method in ("BREW", "PLÖTZLICH".encode().hex()):  # anybody can invent some
        client.request(method, "/api/jobs")
        assert method not in client.get("/metrics").text
    assert sample('cutmv_http_requests_total{method="other",route="unknown",status="405"}') == 2
    assert sample('cutmv_jobs{state="done"}') >= 1
    assert sample('cutmv_steps{state="done"}') >= 2
    assert sample("cutmv_websocket_clients") == 0
    for reason in ("turn", "storage", "room", "retry"):
        assert sample(f'cutmv_waiting_steps{{reason="{reason}"}}') == 0
        assert sample(f'cutmv_oldest_waiting_step_seconds{{reason="{reason}"}}') == 0
    assert sample("cutmv_stranded_steps") == 0
    assert sample("cutmv_fallback") == 0


def test_a_connection_serves_many_requests(server: WebServer) -> None:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    for _ in range(5):
        connection.request("GET", "/api/queue-status")
        assert connection.getresponse().read()
    connection.close()


@pytest.mark.slow
def test_a_client_that_never_ends_its_request_is_dropped(server: WebServer) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.settimeout(2 * HEAD_TIMEOUT_S)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")

        assert connection.recv(100) == b""


def test_suggestions_are_asked_for_and_then_there(
    client: httpx.Client, upload: dict[str, Any]
) -> None:
    url = f"/api/uploads/{upload['id']}/suggestions"
    before = client.get(url)
    asked = client.post(url)

    def found() -> httpx.Response | None:
        answer = client.get(url, params={"clips": 3, "length_s": 1})
        return answer if answer.status_code == 200 else None

    clips = wait_for(found, 120.0, "suggestions are there").json()["clips"]
    again = client.post(url)

    assert "POST" in problem(before)["detail"]
    assert (asked.status_code, asked.json()["state"]) == (202, "queued")
    assert (again.status_code, again.json()["state"]) == (200, "done")
    assert len(clips) == 3
    assert (
        client.post(
            "/api/jobs",
            json={
                "upload_id": upload["id"],
                "clips": [f"{each['text']} {each['label']}" for each in clips],
            },
        ).status_code
        == 201
    )
    assert "less than a clip" in problem(client.get(url, params={"length_s": 60}))["detail"]
    assert problem(client.get(url, params={"on": "offbeat"}))["errors"][0]["field"] == "on"
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_there_are_no_suggestions_of_an_unknown_upload(client: httpx.Client) -> None:
    assert problem(client.post("/api/uploads/none/suggestions"))["status"] == 404


def test_the_api_is_served_by_its_version_too(client: httpx.Client, upload: dict[str, Any]) -> None:
    own = f"uploads/{upload['id']}"
    assert client.get(f"/api/v1/{own}").json() == client.get(f"/api/{own}").json()
    assert client.get(f"/api/v2/{own}").status_code == 404
