"""The object store: R2's S3 API, and a directory, held to the same behaviour."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from cutmv.transports.cloudflare.errors import (
    ConfigurationError,
    ObjectMissing,
    ObjectStoreError,
)
from cutmv.transports.cloudflare.messages.object_store import ObjectStore
from cutmv.transports.cloudflare.messages.stores import opener
from cutmv.transports.cloudflare.options import check_store_url
from tests.support.s3 import BUCKET, KEY_ID, SECRET, Line

ACCOUNT = "0123456789abcdef0123456789abcdef"


def _environ(url: str) -> dict[str, str]:
    return {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET, "R2_ENDPOINT_URL": url}


@pytest.fixture(params=["directory", "r2"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, s3_url: str
) -> Callable[[], ObjectStore]:
    url = {"directory": tmp_path.as_uri(), "r2": f"r2://{BUCKET}/{uuid4().hex}"}[request.param]
    return opener(url, ACCOUNT, _environ(s3_url))


@pytest.fixture
def store(open_store: Callable[[], ObjectStore]) -> ObjectStore:
    return open_store()


def test_what_is_put_is_got_and_what_is_deleted_is_missing(store: ObjectStore) -> None:
    store.put("a/b", b"one")
    etag = store.put("a/b", b"two")

    assert store.get("a/b").data == b"two"
    assert store.get("a/b").etag == etag
    store.delete(["a/b", "never"])
    with pytest.raises(ObjectMissing):
        store.get("a/b")


def test_the_first_of_many_writers_of_an_absent_object_wins(
    open_store: Callable[[], ObjectStore],
) -> None:
    won: list[str | None] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        store = open_store()
        start.wait(20)
        won.append(store.put_if_absent("key", str(number).encode()))

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([etag for etag in won if etag]) == 1


def test_a_replacement_needs_the_tag_that_is_there(store: ObjectStore) -> None:
    first = store.put("key", b"one")
    second = store.replace("key", b"two", first)

    assert second
    assert store.replace("key", b"three", first) is None
    assert store.get("key").data == b"two"
    store.delete(["key"])
    assert store.replace("key", b"four", second) is None
    with pytest.raises(ObjectMissing):
        store.get("key")


def test_a_lifecycle_rule_is_added_once_beside_those_that_exist(s3_url: str) -> None:
    environ = _environ(s3_url)
    client: Any = boto3.client(
        "s3",
        endpoint_url=s3_url,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    bucket = f"bucket-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    theirs = {
        "ID": "theirs",
        "Filter": {"Prefix": "logs/"},
        "Status": "Enabled",
        "Expiration": {"Days": 3},
    }
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [theirs]}
    )
    store = opener(f"r2://{bucket}/mine", ACCOUNT, environ)()
    for _ in range(2):
        store.expire("large/", 30)
    store.expire("other/", 5)

    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    shown = {rule["ID"]: (rule["Filter"]["Prefix"], rule["Expiration"]["Days"]) for rule in rules}
    assert shown == {
        "theirs": ("logs/", 3),
        "expire-mine-large": ("mine/large/", 30),
        "expire-mine-other": ("mine/other/", 5),
    }


def test_a_directory_loses_what_is_old_and_only_below_the_prefix(tmp_path: Path) -> None:
    store = opener(tmp_path.as_uri(), ACCOUNT)()
    for key in ("large/old", "large/new", "other/old"):
        store.put(key, b"x")
        if key.endswith("old"):
            long_ago = time.time() - 31 * 86_400
            os.utime(tmp_path / key, (long_ago, long_ago))
    store.expire("large/", 30)

    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [".lock", "new", "old"]
    assert store.get("other/old").data == b"x"


def test_a_missing_bucket_or_directory_is_no_missing_object(s3_url: str, tmp_path: Path) -> None:
    for url in (f"r2://{uuid4().hex}/x", (tmp_path / "nowhere").as_uri()):
        with pytest.raises(ObjectStoreError) as caught:
            opener(url, ACCOUNT, _environ(s3_url))().get("key")
        assert not isinstance(caught.value, ObjectMissing)


def test_a_server_that_does_not_answer_is_one_line_without_the_secret(s3_line: Line) -> None:
    store = opener(f"r2://{BUCKET}/x", ACCOUNT, _environ(s3_line.url))()
    s3_line.cut()
    with pytest.raises(ObjectStoreError, match=f"R2 bucket '{BUCKET}': can't write: ") as caught:
        store.put("key", b"x")
    with pytest.raises(ObjectStoreError, match="npx wrangler r2 bucket lifecycle add"):
        store.expire("large/", 30)

    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_credentials_are_named_before_anything_is_opened() -> None:
    with pytest.raises(
        ConfigurationError, match="R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY missing"
    ):
        opener("r2://bucket/prefix", ACCOUNT, {})


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/x", "r2:///x", "r2://key:s3cret@bucket/x", "file://host/x", "file:x", "/tmp/x"],
)
def test_a_url_of_another_kind_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError, match="large_messages must be r2://BUCKET") as caught:
        check_store_url("large_messages", url)
    assert "s3cret" not in str(caught.value)


def test_a_key_can_t_leave_its_directory(tmp_path: Path) -> None:
    store = opener((tmp_path / "store").as_uri(), ACCOUNT)()
    (tmp_path / "secret").write_text("x")
    store.put("key", b"x")
    with pytest.raises(ObjectMissing):
        store.get("../secret")
