"""Both storages keep the same promises: a local directory, and R2 as a real S3 server."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import boto3
import httpx
import pytest

from cutmv.storage import (
    LocalStorage,
    NoSpace,
    ObjectNotFound,
    R2Storage,
    Storage,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from cutmv.storage.r2 import PART_BYTES
from tests.support.gate import Gate
from tests.support.processes import free_port
from tests.support.s3 import BUCKET, SECRET
from tests.support.small_disk import SmallDisk


@pytest.fixture(params=["local", "r2"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "files")
    return R2Storage(BUCKET, request.getfixturevalue("s3_url"), "key", SECRET, "us-east-1")


def _read(storage: Storage, key: str, start: int = 0, length: int | None = None) -> bytes:
    with storage.open_range(key, start, length) as chunks:
        return b"".join(chunks)


class Endless(io.RawIOBase):
    """A stream that says how much was asked of it, and never ends by itself."""

    def __init__(self) -> None:
        self.given = 0
        self.largest = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "the whole stream was asked for"
        self.largest = max(self.largest, size)
        self.given += size
        return b"x" * size


def test_a_stream_is_stored_and_read_back(storage: Storage) -> None:
    size = storage.put_stream(
        "uploads/a1/source", io.BytesIO(b"hello"), content_type="video/mp4", max_bytes=5
    )

    assert size == 5
    assert _read(storage, "uploads/a1/source") == b"hello"
    assert storage.stat("uploads/a1/source").size == 5


def test_a_stream_of_several_parts_is_stored_in_order(storage: Storage) -> None:
    content = b"".join(bytes([n]) * (PART_BYTES // 2) for n in range(5))

    storage.put_stream(
        "uploads/a2/source", io.BytesIO(content), content_type="video/mp4", max_bytes=len(content)
    )

    assert _read(storage, "uploads/a2/source") == content


def test_a_stream_that_is_too_long_is_refused_in_time_and_leaves_nothing(storage: Storage) -> None:
    endless = Endless()

    with pytest.raises(TooLarge):
        storage.put_stream(
            "uploads/a3/source", endless, content_type="video/mp4", max_bytes=PART_BYTES + 1
        )

    assert endless.given <= 3 * PART_BYTES
    assert endless.largest <= PART_BYTES
    assert list(storage.list("uploads/a3/")) == []


def test_a_stream_that_breaks_leaves_nothing(storage: Storage) -> None:
    class Broken(io.RawIOBase):
        sent = 0

        def read(self, size: int = -1) -> bytes:
            self.sent += size
            if self.sent > PART_BYTES + PART_BYTES // 2:
                raise ConnectionResetError("gone")
            return b"x" * size

    with pytest.raises(ConnectionResetError):
        storage.put_stream("uploads/a4/source", Broken(), content_type="video/mp4", max_bytes=10**9)

    assert list(storage.list("uploads/a4/")) == []


@pytest.mark.parametrize("size", [100, PART_BYTES + 1])
def test_of_two_who_write_if_absent_the_first_wins(
    storage: Storage, tmp_path: Path, size: int
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1" * size)
    second.write_bytes(b"2" * size)
    key = f"jobs/b{size}/out.mp4"

    assert storage.put_file(key, first, content_type="video/mp4", if_absent=True)
    assert not storage.put_file(key, second, content_type="video/mp4", if_absent=True)

    assert _read(storage, key, 0, 1) == b"1"
    assert storage.put_file(key, second, content_type="video/mp4")
    assert _read(storage, key, 0, 1) == b"2"


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, None, b"0123456789"), (3, 4, b"3456"), (9, None, b"9"), (5, 100, b"56789"), (4, 0, b"")],
)
def test_a_range_is_read(storage: Storage, start: int, length: int | None, expected: bytes) -> None:
    storage.put_stream(
        "uploads/c/source", io.BytesIO(b"0123456789"), content_type="video/mp4", max_bytes=10
    )

    assert _read(storage, "uploads/c/source", start, length) == expected


def test_what_is_not_there_is_not_found(storage: Storage) -> None:
    with pytest.raises(ObjectNotFound):
        storage.stat("uploads/none/source")
    with pytest.raises(ObjectNotFound), storage.open_range("uploads/none/source"):
        pass
    storage.delete("uploads/none/source")
    storage.delete_prefix("uploads/none/")


def test_a_prefix_is_listed_and_deleted_and_its_neighbours_stay(storage: Storage) -> None:
    for key in ("jobs/d1/s1/a.mp4", "jobs/d1/s2/b.gif", "jobs/d10/s1/c.mp4"):
        storage.put_stream(key, io.BytesIO(b"x"), content_type="video/mp4", max_bytes=1)

    assert {stored.key for stored in storage.list("jobs/d1/")} == {
        "jobs/d1/s1/a.mp4",
        "jobs/d1/s2/b.gif",
    }
    storage.delete_prefix("jobs/d1/")

    assert list(storage.list("jobs/d1/")) == []
    assert [stored.key for stored in storage.list("jobs/d10/")] == ["jobs/d10/s1/c.mp4"]


def test_what_ffmpeg_opens_has_the_content(storage: Storage) -> None:
    storage.put_stream(
        "uploads/e/source", io.BytesIO(b"0123456789"), content_type="video/mp4", max_bytes=10
    )

    source = storage.source("uploads/e/source")

    if source.startswith("http"):
        answer = httpx.get(source, headers={"Range": "bytes=2-4"})
        assert (answer.status_code, answer.content) == (206, b"234")
    else:
        assert Path(source).read_bytes() == b"0123456789"


def test_a_healthy_storage_passes_its_check(storage: Storage) -> None:
    storage.check()


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "jobs/../../outside", ".partial/x"])
def test_no_key_leads_out_of_the_directory(tmp_path: Path, key: str) -> None:
    storage = LocalStorage(tmp_path / "files")

    with pytest.raises(StorageError, match="can't be used"):
        storage.put_stream(key, io.BytesIO(b"x"), content_type="video/mp4", max_bytes=1)

    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_error_of_r2_is_one_line_without_the_secret(s3_url: str) -> None:
    storage = R2Storage("no-such-bucket", s3_url, "key", SECRET, "us-east-1")

    with pytest.raises(StorageError) as caught:
        storage.put_stream("a/b", io.BytesIO(b"x"), content_type="video/mp4", max_bytes=1)

    assert "NoSuchBucket" in str(caught.value)
    assert SECRET not in repr(storage) + str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreachable_r2_is_a_storage_error() -> None:
    storage = R2Storage(BUCKET, f"http://127.0.0.1:{free_port()}", "key", SECRET)

    with pytest.raises(StorageUnavailable, match="EndpointConnectionError"):
        storage.check()


@pytest.mark.parametrize("status", [500, 503, 429, 403])
def test_an_r2_that_can_not_answer_now_is_away_and_one_that_refuses_is_not(
    s3_url: str, status: int
) -> None:
    gate = Gate(s3_url, lambda *_: (status, "<Error><Code>Told</Code></Error>"))
    storage = R2Storage(BUCKET, gate.url, "key", SECRET)

    with pytest.raises(StorageError) as caught:
        storage.stat("a/b")

    assert isinstance(caught.value, StorageUnavailable) is (status != 403)
    assert not isinstance(caught.value, ObjectNotFound)
    gate.close()


def test_a_folder_that_is_away_loses_no_object(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    storage.put_stream("uploads/u1/s", io.BytesIO(b"0123"), content_type="x/y", max_bytes=4)
    (tmp_path / "files").rename(tmp_path / "away")
    new = {"content_type": "x/y", "max_bytes": 4}

    for each in (storage, LocalStorage(tmp_path / "files", in_use=True)):
        for call in (
            lambda each=each: each.stat("uploads/u1/s"),
            lambda each=each: each.put_stream("uploads/u2/s", io.BytesIO(b"0123"), **new),
            lambda each=each: _read(each, "uploads/u1/s"),
            each.check,
        ):
            with pytest.raises(StorageUnavailable, match="its folder is gone"):
                call()
    assert not (tmp_path / "files").exists()

    (tmp_path / "away").rename(tmp_path / "files")
    assert _read(storage, "uploads/u1/s") == b"0123"


def test_a_range_past_the_end_is_empty(storage: Storage) -> None:
    storage.put_stream("uploads/p1/s", io.BytesIO(b"0123"), content_type="x/y", max_bytes=4)

    assert _read(storage, "uploads/p1/s", 4) == b""
    assert _read(storage, "uploads/p1/s", 50, 10) == b""


def test_parts_that_nobody_completes_are_deleted(s3_url: str) -> None:
    storage = R2Storage(BUCKET, s3_url, "key", SECRET, "us-east-1")
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id="key",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    begun = client.create_multipart_upload(Bucket=BUCKET, Key="uploads/m1/s")
    part = {"Key": "uploads/m1/s", "UploadId": begun["UploadId"], "PartNumber": 1}
    client.upload_part(Bucket=BUCKET, Body=b"half", **part)
    theirs = client.create_multipart_upload(Bucket=BUCKET, Key="backups/disk.img")

    # The server says that every upload began years ago.
    storage.delete_unfinished(3600, ("uploads/", "jobs/"))

    left = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    assert [each["Key"] for each in left] == ["backups/disk.img"]
    client.abort_multipart_upload(
        Bucket=BUCKET, Key="backups/disk.img", UploadId=theirs["UploadId"]
    )
    assert list(storage.list("uploads/m1/")) == []


def test_what_a_writer_left_that_was_killed_is_deleted_at_once(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files")
    partial = tmp_path / "files" / ".partial"
    (partial / "left").write_bytes(b"half")

    class Living(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            storage.delete_unfinished(3600)
            return super().read(size)

    storage.put_stream("uploads/u1/s", Living(b"0123"), content_type="x/y", max_bytes=4)

    assert list(partial.iterdir()) == []
    assert _read(storage, "uploads/u1/s") == b"0123"


def test_a_disk_that_fills_is_an_error_of_the_storage(
    tmp_path: Path, small_disks: Callable[[Path, int], SmallDisk]
) -> None:
    disk = small_disks(tmp_path / "files", 1)
    storage = LocalStorage(disk.path)
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(2_000_000))

    with pytest.raises(NoSpace):
        storage.put_file("jobs/j1/o", whole, content_type="x/y")
    # Less than a buffer: it is written, or not, when the file is closed.
    disk.fill()
    with pytest.raises(NoSpace):
        storage.put_stream("uploads/u1/s", io.BytesIO(b"01"), content_type="x/y", max_bytes=4)

    assert [path.name for path in (disk.path / ".partial").iterdir()] == []
