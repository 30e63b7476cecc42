"""An R2 bucket as an object store, by conditional writes of the S3 API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cutmv.transports.cloudflare.errors import (
    ObjectMissing,
    ObjectStoreError,
    ObjectStoreRefused,
)
from cutmv.transports.cloudflare.messages.object_store import StoredObject
from cutmv.transports.cloudflare.messages.r2 import (
    CONDITION_FAILED,
    MAX_DELETES,
    expiry_rule,
    lifecycle_rules,
    put_lifecycle_rule,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class R2ObjectStore:
    """A bucket, over the S3 API. See `ObjectStore`."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client, self._bucket = client, bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def get(self, key: str) -> StoredObject:
        """See `ObjectStore`."""
        with self._told("read"):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            with contextlib.closing(answer["Body"]) as body:
                data = body.read()
        # Both times are in whole seconds: the age may come out too low, but never too high.
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (now - answer["LastModified"]).total_seconds() - 1
        return StoredObject(data, answer["ETag"], max(0.0, age))

    def put(self, key: str, data: bytes) -> str:
        """See `ObjectStore`."""
        with self._told("write"):
            return self._put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """See `ObjectStore`."""
        with contextlib.suppress(_Taken), self._told("write"):
            return self._put(key, data, IfNoneMatch="*")
        return None

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """See `ObjectStore`."""
        with contextlib.suppress(_Taken, ObjectMissing), self._told("write"):
            return self._put(key, data, IfMatch=etag)
        return None

    def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore`."""
        for first in range(0, len(keys), MAX_DELETES):
            part = keys[first : first + MAX_DELETES]
            with self._told("delete"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": self._prefix + k} for k in part], "Quiet": True},
                )
            if errors := answer.get("Errors"):
                raise ObjectStoreError(
                    f"R2 bucket {self._bucket!r}: can't delete: {errors[0].get('Code')}"
                )

    def expire(self, prefix: str, days: int) -> None:
        """See `ObjectStore`. Adds a lifecycle rule to those of the bucket.

        Needs a token that may administer the bucket; without one the error names the command.
        """
        where = self._prefix + prefix
        rule = expiry_rule(where, days)
        try:
            with self._told("read its lifecycle rules"):
                if rule in lifecycle_rules(self._client, self._bucket):
                    return
            with self._told("set a lifecycle rule"):
                put_lifecycle_rule(self._client, self._bucket, rule)
        except ObjectStoreError as error:
            raise ObjectStoreError(
                f"{error}; have what is left over removed: npx wrangler r2 bucket lifecycle add "
                f"{self._bucket} {rule['ID']} {where} --expire-days {days}"
            ) from None

    def _put(self, key: str, data: bytes, **condition: Any) -> str:
        answer = self._client.put_object(
            Bucket=self._bucket, Key=self._prefix + key, Body=data, **condition
        )
        return answer["ETag"]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Raise this module's errors in place of boto3's, in one line, without secrets."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            said = error.response.get("Error", {})
            code, text = str(said.get("Code", "")), " ".join(str(said.get("Message", "")).split())
            if code in CONDITION_FAILED:
                raise _Taken from None
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            # A missing bucket is no missing object: all its messages would count as lost.
            kind = ObjectMissing if code == "NoSuchKey" else ObjectStoreError
            if code == "NoSuchBucket" or status in (401, 403):
                kind = ObjectStoreRefused
            raise kind(f"R2 bucket {self._bucket!r}: can't {what}: {code} {text}".strip()) from None
        except (BotoCoreError, OSError) as error:
            raise ObjectStoreError(f"R2 bucket {self._bucket!r}: can't {what}: {error}") from None


class _Taken(Exception):
    """Another process's write came first."""
