"""The storage that machines share: objects in Cloudflare R2, or any other S3, through boto3."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cutmv.storage.base import (
    CHUNK_BYTES,
    ObjectNotFound,
    ObjectStat,
    StorageError,
    TooLarge,
)
from cutmv.storage.r2_errors import PastEnd, Taken, storage_errors
from cutmv.storage.r2_multipart import R2Multipart, read_fully
from cutmv.transports.cloudflare.messages import MAX_DELETES, r2_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

#: Bytes of each part of a multipart upload: R2 wants all but the last equal and at least 5 MiB,
#: and takes 10,000 of them; so one object may have 160 GB, and an upload 16 MB of memory.
PART_BYTES = 16 * 1_048_576
#: Seconds for which a URL for FFmpeg is valid: longer than any cut's time limit.
SOURCE_URL_S = 6 * 3600
#: Seconds to connect, and to wait for the next bytes.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 30.0
#: Connections that are kept open: one for each request of a busy web server.
POOL_SIZE = 50
#: Attempts at one call.
ATTEMPTS = 4


def open_client(
    endpoint_url: str, access_key_id: str, secret_access_key: str, region: str = "auto"
) -> "S3Client":
    """A client of R2, or of another S3, for this process; makes no call.

    `region` is what the requests are signed for; R2 takes `auto` and `us-east-1`.
    """
    return r2_client(
        endpoint_url,
        access_key_id,
        secret_access_key,
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        pool_size=POOL_SIZE,
        attempts=ATTEMPTS,
        region=region,
    )


class R2Storage:
    """A bucket. An object appears by one PutObject or CompleteMultipartUpload, whole."""

    def __init__(
        self,
        bucket: str,
        endpoint_url: str,
        access_key_id: str,
        secret_access_key: str,
        region: str = "auto",
    ) -> None:
        self._bucket, self._endpoint = bucket, endpoint_url
        self._client = open_client(endpoint_url, access_key_id, secret_access_key, region)
        self.multipart = R2Multipart(self._client, bucket)

    def __repr__(self) -> str:
        return f"R2Storage({self._bucket!r}, {self._endpoint!r})"

    def put_stream(self, key: str, stream: IO[bytes], *, content_type: str, max_bytes: int) -> int:
        """See Storage. Each part is sent before the next is read."""
        sizes: list[int] = []

        def parts() -> Iterator[bytes]:
            while part := read_fully(stream, PART_BYTES):
                sizes.append(len(part))
                if sum(sizes) > max_bytes:
                    raise TooLarge(f"More than the {max_bytes} bytes allowed were sent.")
                yield part

        self._put_parts(key, parts(), content_type, {})
        return sum(sizes)

    def put_file(self, key: str, path: Path, *, content_type: str, if_absent: bool = False) -> bool:
        """See Storage. The condition is `If-None-Match: *`, which R2 checks at completion."""
        with path.open("rb") as file:
            parts = iter(lambda: file.read(PART_BYTES), b"")
            try:
                self._put_parts(key, parts, content_type, {"IfNoneMatch": "*"} if if_absent else {})
            except Taken:
                return False
        return True

    @contextmanager
    def open_range(
        self, key: str, start: int = 0, length: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """See Storage."""
        if length == 0:
            self.stat(key)
            yield iter(())
            return
        last = "" if length is None else str(start + length - 1)
        try:
            with storage_errors("read"):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=key, Range=f"bytes={start}-{last}"
                )
        except PastEnd:
            yield iter(())
            return
        body = answer["Body"]
        try:
            yield self._chunks(body)
        finally:
            body.close()

    def stat(self, key: str) -> ObjectStat:
        """See Storage."""
        with storage_errors("read"):
            head = self._client.head_object(Bucket=self._bucket, Key=key)
        return ObjectStat(
            key,
            head["ContentLength"],
            head.get("ContentType", "application/octet-stream"),  # others may give none
            head["ETag"].strip('"'),
            head["LastModified"].timestamp(),
        )

    def source(self, key: str) -> str:
        """See Storage: a presigned URL, of which FFmpeg reads only the ranges that it needs."""
        url: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=SOURCE_URL_S
        )
        return url

    def delete(self, key: str) -> None:
        """See Storage."""
        with storage_errors("delete"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def delete_prefix(self, prefix: str) -> None:
        """See Storage."""
        keys = [stored.key for stored in self.list(prefix)]
        for first in range(0, len(keys), MAX_DELETES):
            with storage_errors("delete"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={
                        "Objects": [{"Key": key} for key in keys[first : first + MAX_DELETES]],
                        "Quiet": True,
                    },
                )
            if errors := answer.get("Errors"):
                raise StorageError(f"The storage can't delete: {errors[0].get('Code')}.")

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """See Storage. A listing has no content types; `stat` has."""
        for page in self._pages("list_objects_v2", Bucket=self._bucket, Prefix=prefix):
            for stored in page.get("Contents", ()):
                yield ObjectStat(
                    stored["Key"],
                    stored["Size"],
                    "application/octet-stream",
                    stored["ETag"].strip('"'),
                    stored["LastModified"].timestamp(),
                )

    def delete_unfinished(self, older_s: float, prefixes: tuple[str, ...]) -> None:
        """See Storage: multipart uploads that nobody completes, whose parts cost money."""
        latest = time.time() - older_s
        pages = self._pages("list_multipart_uploads", Bucket=self._bucket)
        for upload in (each for page in pages for each in page.get("Uploads", ())):
            is_ours = upload["Key"].startswith(prefixes)
            if is_ours and upload["Initiated"].timestamp() < latest:
                with suppress(ObjectNotFound), storage_errors("delete"):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    def check(self) -> None:
        """See Storage. Writing costs money, so only the bucket is asked for."""
        with storage_errors("read"):
            self._client.head_bucket(Bucket=self._bucket)

    def _pages(self, operation: Any, **arguments: str) -> Iterator[Any]:
        pages = iter(self._client.get_paginator(operation).paginate(**arguments))
        while True:
            with storage_errors("list"):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _chunks(self, body: Any) -> Iterator[bytes]:
        while True:
            with storage_errors("read"):
                chunk = body.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

    def _put_parts(
        self, key: str, parts: Iterator[bytes], content_type: str, condition: dict[str, Any]
    ) -> None:
        """Store parts of PART_BYTES, the last one shorter; a single one by a single call."""
        first = next(parts, b"")
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": key}
        if len(first) < PART_BYTES:
            with storage_errors("write"):
                self._client.put_object(Body=first, ContentType=content_type, **where, **condition)
            return
        upload_id = self.multipart.create(key, content_type=content_type)
        where["UploadId"] = upload_id
        try:
            sent: list[CompletedPartTypeDef] = []
            for number, part in enumerate(chain((first,), parts), start=1):
                with storage_errors("write"):
                    answer = self._client.upload_part(PartNumber=number, Body=part, **where)
                sent.append({"PartNumber": number, "ETag": answer["ETag"]})
            with storage_errors("write"):
                self._client.complete_multipart_upload(
                    MultipartUpload={"Parts": sent}, **where, **condition
                )
        except BaseException:
            # Parts of an upload that nobody completes cost money until a lifecycle rule ends them.
            with suppress(StorageError):
                self.multipart.abort(key, upload_id)
            raise
