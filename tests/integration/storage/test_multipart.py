"""Objects that come in parts: in a local directory, and in R2 as a real S3 server."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from cutmv.storage import (
    IncomingPart,
    LocalStorage,
    ObjectNotFound,
    PartDamaged,
    R2Storage,
    Storage,
)
from tests.support.s3 import BUCKET, SECRET

#: S3 takes no smaller part, but the last.
PART = 5 * 1_048_576
CONTENT = os.urandom(2 * PART + 123)


@pytest.fixture(params=["local", "r2"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "files")
    return R2Storage(BUCKET, request.getfixturevalue("s3_url"), "key", SECRET, "us-east-1")


def put(storage: Storage, key: str, upload: str, number: int, content: bytes = CONTENT) -> str:
    at = (number - 1) * PART
    body = content[at : at + PART]
    told = IncomingPart(number, len(body), at, hashlib.md5(body).digest())
    part = storage.multipart.put(key, upload, told, io.BytesIO(body))
    assert (part.number, part.size) == (number, len(body))
    assert part.etag == hashlib.md5(body).hexdigest()
    return part.etag


def test_parts_come_in_any_order_and_again_and_make_the_object(storage: Storage) -> None:
    key = "uploads/parts/source"
    upload = storage.multipart.create(key, content_type="video/mp4")
    put(storage, key, upload, 3)
    put(storage, key, upload, 1, b"x" * len(CONTENT))
    assert [each.number for each in storage.multipart.parts(key, upload)] == [1, 3]
    put(storage, key, upload, 2)
    put(storage, key, upload, 1)
    with pytest.raises(ObjectNotFound):  # it is not there before it is whole
        storage.stat(key)
    parts = storage.multipart.parts(key, upload)
    assert [(each.number, each.size) for each in parts] == [(1, PART), (2, PART), (3, 123)]
    storage.multipart.complete(key, upload, parts)
    with storage.open_range(key) as chunks:
        assert b"".join(chunks) == CONTENT
    with pytest.raises(ObjectNotFound):
        storage.multipart.parts(key, upload)
    with suppress(ObjectNotFound):  # S3 may answer a second time as it did
        storage.multipart.complete(key, upload, parts)
    with storage.open_range(key) as chunks:
        assert b"".join(chunks) == CONTENT


@pytest.mark.parametrize("sent", [b"x" * 9, b"y" * 10])
def test_a_part_that_was_cut_off_or_damaged_is_not_stored(storage: Storage, sent: bytes) -> None:
    key = "uploads/damaged/source"
    upload = storage.multipart.create(key, content_type="video/mp4")
    told = IncomingPart(1, 10, 0, hashlib.md5(b"x" * 10).digest())
    with pytest.raises(PartDamaged, match="Part 1 has other bytes than were told"):
        storage.multipart.put(key, upload, told, io.BytesIO(sent))
    assert storage.multipart.parts(key, upload) == []


def test_of_what_is_aborted_nothing_is_left(storage: Storage) -> None:
    key = "uploads/aborted/source"
    upload = storage.multipart.create(key, content_type="video/mp4")
    put(storage, key, upload, 1)
    for _ in "twice":
        storage.multipart.abort(key, upload)
    with pytest.raises(ObjectNotFound):
        storage.multipart.parts(key, upload)
    if isinstance(storage, LocalStorage):
        assert [
            each for each in Path(storage.source("x")).parent.rglob("*") if each.is_file()
        ] == []


def test_what_nobody_completes_is_deleted(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    key = "uploads/left/source"
    upload = storage.multipart.create(key, content_type="video/mp4")
    put(storage, key, upload, 1)
    storage.delete_unfinished(3600)
    assert len(storage.multipart.parts(key, upload)) == 1
    os.utime(tmp_path / ".multipart" / upload, (0, 0))
    storage.delete_unfinished(3600)
    with pytest.raises(ObjectNotFound):
        storage.multipart.parts(key, upload)


def test_a_client_sends_a_part_to_r2_by_itself(s3_url: str) -> None:
    storage = R2Storage(BUCKET, s3_url, "key", SECRET, "us-east-1")
    key, body = "uploads/signed/source", b"v" * 1000
    upload = storage.multipart.create(key, content_type="video/mp4")
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    part = IncomingPart(1, len(body), 0, hashlib.md5(body).digest())
    signed = storage.multipart.sign(key, upload, part)
    assert signed
    # R2 itself refuses what differs from what was signed for; this S3 server checks no signature.
    assert "content-length" in signed.url
    assert "content-md5" in signed.url
    assert signed.headers == {"Content-MD5": md5}
    answer = httpx.put(signed.url, content=body, headers=signed.headers)
    assert answer.status_code == 200
    assert answer.headers["ETag"].strip('"') == hashlib.md5(body).hexdigest()
    storage.multipart.complete(key, upload, storage.multipart.parts(key, upload))
    assert storage.stat(key).size == len(body)


def test_a_local_storage_has_parts_sent_to_us(tmp_path: Path) -> None:
    assert LocalStorage(tmp_path).multipart.sign("k", "u", IncomingPart(1, 1, 0)) is None
