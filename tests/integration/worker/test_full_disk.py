"""A full disk: what would fill it is refused, all there is can be read, and work waits for room."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cutmv.dispatch.janitor import SHORT_SWEEP_INTERVAL_S
from cutmv.jobs import WAITS_FOR_ROOM, WAITS_FOR_STORAGE
from cutmv.web.checks import INTERVAL_S
from tests.support.failing_disk import FailingDisk
from tests.support.media import make_sample
from tests.support.processes import slowness, wait_for
from tests.support.small_disk import SmallDisk
from tests.support.stack import Stack

#: Megabytes of the disk: a twentieth of them is kept free.
DISK_MB = 40
#: Seconds in which a server with a full disk answers: it once took 30 for each request.
AT_ONCE_S = 3.0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=4.0, size=(320, 180))


@pytest.fixture
def disk(tmp_path: Path, small_disks: Callable[[Path, int], SmallDisk]) -> SmallDisk:
    return small_disks(tmp_path / "data", DISK_MB)


@pytest.fixture(params=["eager", "redis"])
def stack(
    request: pytest.FixtureRequest, make_stack: Callable[[str], Stack], disk: SmallDisk
) -> Stack:
    """A web server whose data directory is on the small disk, and a worker's environment."""
    stack = make_stack(request.param)
    assert disk.path == stack.folder / "data"
    stack.start_web()
    return stack


def ask(stack: Stack, method: str, path: str, **arguments: Any) -> httpx.Response:
    """The answer to a request, which comes at once."""
    asked = time.monotonic()
    answer = httpx.request(method, stack.url + path, timeout=60, **arguments)
    assert time.monotonic() - asked < AT_ONCE_S * slowness(), f"{method} {path}"
    return answer


def refused(answer: httpx.Response) -> None:
    """The answer says that there is no room, in one line, and when to come back."""
    assert answer.status_code == 507, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["title"] == "Insufficient Storage"
    assert "room" in answer.json()["detail"]


def stages(answer: httpx.Response) -> list[str | None]:
    """What each step of a job is at."""
    return [step["stage"] for step in answer.json()["steps"]]


def endless(head: bytes) -> Iterator[bytes]:
    """More than there is room for, by pieces, without a length."""
    yield head
    for _ in range(DISK_MB + 1):
        yield bytes(1_048_576)


@pytest.mark.slow
def test_a_full_disk_refuses_what_is_new_lets_all_be_read_and_goes_on_when_there_is_room(
    stack: Stack, disk: SmallDisk, video: Path
) -> None:
    upload = stack.upload(video)
    wanted = {"upload_id": upload["id"], "clips": ["0-1", "1-2"]}
    to_cancel, job = stack.submit(**wanted), None
    if stack.mode == "eager":
        stack.ended(to_cancel["id"])
    else:
        job = stack.submit(**wanted)

    disk.fill(leave=disk.free // 40)
    body = video.read_bytes()
    refused(ask(stack, "POST", "/api/uploads", content=body))
    refused(ask(stack, "POST", "/api/uploads", files={"file": ("song.mp4", body)}))
    refused(ask(stack, "POST", "/api/jobs", json=wanted))
    cancelled = ask(stack, "POST", f"/api/jobs/{to_cancel['id']}/cancel")
    assert cancelled.status_code == 200
    if job:  # a worker comes, and finds no room
        stack.start_worker()
        path = f"/api/jobs/{job['id']}"
        waits_for_room = lambda: WAITS_FOR_ROOM in stages(ask(stack, "GET", path))  # noqa: E731
        wait_for(waits_for_room, 60 * slowness(), stack.logs)

    disk.fill()
    assert disk.free == 0
    for path in ("/api/jobs", f"/api/jobs/{to_cancel['id']}", f"/api/uploads/{upload['id']}"):
        assert ask(stack, "GET", path).status_code == 200, path
    assert ask(stack, "GET", upload["url"]).content == body
    assert ask(stack, "GET", "/healthz").status_code in (200, 503)
    assert ask(stack, "GET", "/").status_code == 200
    refused(ask(stack, "POST", "/api/jobs", json=wanted))

    disk.empty()
    for each in (job, stack.submit(**wanted)):
        if each:
            if stack.mode == "redis" and not stack.workers:
                stack.start_worker()
            ended = stack.ended(each["id"])
            assert (ended["state"], ended["error"]) == ("done", None), stack.logs
    assert stack.upload(video)["size"] == len(body)


def with_ballast(make_stack: Callable[[str], Stack], disk: SmallDisk) -> tuple[Stack, Path]:
    """A web server in front of workers that never come, and what its full disk can give up."""
    stack, ballast = make_stack("redis"), disk.path / "ballast"
    stack.start_web()
    wait_for(ballast.exists, 20.0 * slowness(), "the room is taken in")
    assert ballast.stat().st_blocks * 512 == DISK_MB * 1_048_576 // 40
    return stack, ballast


@pytest.mark.slow
def test_without_a_byte_left_jobs_are_cancelled_and_what_there_is_deleted(
    make_stack: Callable[[str], Stack], disk: SmallDisk, video: Path
) -> None:
    stack, ballast = with_ballast(make_stack, disk)
    upload = stack.upload(video)
    job = stack.submit(upload_id=upload["id"], clips=["0-1", "1-2"])

    disk.fill()
    assert disk.free == 0
    cancelled = ask(stack, "POST", f"/api/jobs/{job['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert not ballast.exists()
    assert ask(stack, "DELETE", f"/api/uploads/{upload['id']}").status_code == 204

    disk.empty()
    wait_for(ballast.exists, 20.0 * slowness(), "the room is taken in again")


@pytest.mark.slow
def test_without_a_byte_left_the_janitor_frees_what_has_expired(
    make_stack: Callable[[str], Stack], disk: SmallDisk, video: Path
) -> None:
    stack, _ = with_ballast(make_stack, disk)
    upload = stack.upload(video)
    with closing(sqlite3.connect(disk.path / "cutmv.db")) as db, db:
        db.execute("update uploads set created_at = created_at - 40 * 86400")

    disk.fill()

    gone = lambda: ask(stack, "GET", f"/api/uploads/{upload['id']}").status_code == 404  # noqa: E731
    wait_for(gone, 2 * SHORT_SWEEP_INTERVAL_S * slowness(), stack.logs)
    assert disk.free >= upload["size"] // 2


@pytest.mark.slow
@pytest.mark.parametrize("reserve", ["0", None])
def test_an_upload_that_fills_the_disk_on_its_way_leaves_nothing(
    make_stack: Callable[[str], Stack], disk: SmallDisk, video: Path, reserve: str | None
) -> None:
    stack = make_stack("eager")
    if reserve is not None:
        stack.env["CUTMV_MIN_FREE_BYTES"] = reserve
    stack.start_web()

    refused(ask(stack, "POST", "/api/uploads", content=endless(video.read_bytes())))

    left = [path for path in (disk.path / "files").rglob("*") if path.is_file()]
    assert left == []
    assert stack.upload(video)["size"] == video.stat().st_size


@pytest.mark.slow
def test_a_read_only_disk_of_files_refuses_uploads_and_is_read(
    make_stack: Callable[[str], Stack],
    small_disks: Callable[[Path, int], SmallDisk],
    tmp_path: Path,
    video: Path,
) -> None:
    (tmp_path / "data").mkdir()
    files = small_disks(tmp_path / "data" / "files", DISK_MB)
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)

    files.remount("ro")
    answer = ask(stack, "POST", "/api/uploads", content=video.read_bytes())
    assert answer.status_code == 503 and "retry-after" in answer.headers, answer.text
    assert ask(stack, "GET", upload["url"]).content == video.read_bytes()
    unwell = lambda: ask(stack, "GET", "/healthz").status_code == 503  # noqa: E731
    wait_for(unwell, 2 * INTERVAL_S + 5, "it says that it is unwell")

    files.remount("rw")
    assert stack.upload(video)["size"] == upload["size"]


@pytest.mark.slow
def test_a_disk_that_gives_no_file_fails_no_step_and_is_waited_for(
    make_stack: Callable[[str], Stack],
    failing_disks: Callable[[Path, int], FailingDisk],
    tmp_path: Path,
    video: Path,
) -> None:
    (tmp_path / "data").mkdir()
    disk = failing_disks(tmp_path / "data" / "files", DISK_MB)
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)

    disk.fail()
    answer = ask(stack, "GET", upload["url"])
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    job = stack.submit(upload_id=upload["id"], clips=["0-1"])
    path = f"/api/jobs/{job['id']}"
    waits = lambda: WAITS_FOR_STORAGE in stages(ask(stack, "GET", path))  # noqa: E731
    wait_for(waits, 60 * slowness(), stack.logs)

    disk.heal()
    ended = stack.ended(job["id"])
    assert (ended["state"], ended["steps"][0]["attempts"]) == ("done", 1), stack.logs


def test_a_disk_that_takes_no_write_is_told_of_at_once_and_read_on(
    make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(video)
    wanted = {"upload_id": upload["id"], "clips": ["0-1"]}
    job = stack.ended(stack.submit(**wanted)["id"])
    assert stack.web
    server = psutil.Process(stack.web.child.pid)
    processes = [server, *server.children(recursive=True)]

    # Whatever is written fails, in SQLite (disk I/O error) as in the storage.
    limit_files(processes, 0)
    body = video.read_bytes()
    for path, sent in (("/api/uploads", {"content": body}), ("/api/jobs", {"json": wanted})):
        answer = ask(stack, "POST", path, **sent)
        assert answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert ask(stack, "DELETE", f"/api/jobs/{job['id']}").status_code == 503
    for path in ("/api/jobs", f"/api/jobs/{job['id']}", f"/api/uploads/{upload['id']}"):
        assert ask(stack, "GET", path).status_code == 200, path
    assert ask(stack, "GET", upload["url"]).content == body
    unwell = lambda: ask(stack, "GET", "/healthz").status_code == 503  # noqa: E731
    wait_for(unwell, 2 * INTERVAL_S + 5, "it says that it is unwell")

    limit_files(processes, resource.RLIM_INFINITY)
    assert stack.ended(stack.submit(**wanted)["id"])["state"] == "done", stack.logs


def limit_files(processes: list[psutil.Process], size: int) -> None:
    """Have processes write no file beyond so many bytes."""
    for process in processes:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
