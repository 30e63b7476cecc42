"""Objects of a bucket that come in parts, which a client may send to R2 by itself."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cutmv.storage.base import (
    CHUNK_BYTES,
    IncomingPart,
    ObjectNotFound,
    PartDamaged,
    SignedPart,
    StoredPart,
)
from cutmv.storage.r2_errors import storage_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Seconds for which a client may send a part: it asks for another URL then.
PART_URL_S = 3600


class R2Multipart:
    """See Multipart."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket

    @cached_property
    def origin(self) -> str:
        """See Multipart. boto3 may put the bucket into the name of the host, or not."""
        url = urlsplit(self.sign("k", "u", IncomingPart(1, 1, 0)).url)
        return f"{url.scheme}://{url.netloc}"

    def create(self, key: str, *, content_type: str) -> str:
        """See Multipart."""
        with storage_errors("write"):
            made = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ContentType=content_type
            )
        return made["UploadId"]

    def sign(self, key: str, upload_id: str, part: IncomingPart) -> SignedPart:
        """See Multipart. R2 takes a request of this length alone, since it is signed for."""
        headers = {"Content-MD5": part.content_md5} if part.content_md5 else {}
        url = self._client.generate_presigned_url(
            "upload_part",
            Params=self._part(key, upload_id, part) | {"ContentLength": part.size},
            ExpiresIn=PART_URL_S,
        )
        return SignedPart(url, headers)

    def put(self, key: str, upload_id: str, part: IncomingPart, stream: IO[bytes]) -> StoredPart:
        """See Multipart. A part is held in memory, so that it can be sent again."""
        body = read_fully(stream, part.size)
        if len(body) < part.size or part.md5 not in (None, _md5(body)):
            raise PartDamaged(f"Part {part.number} has other bytes than were told.")
        with storage_errors("write"):
            answer = self._client.upload_part(**self._part(key, upload_id, part), Body=body)
        return StoredPart(part.number, part.size, answer["ETag"].strip('"'))

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """See Multipart."""
        found: list[StoredPart] = []
        pages = iter(
            self._client.get_paginator("list_parts").paginate(**self._where(key, upload_id))
        )
        while True:
            with storage_errors("list"):
                page = next(pages, None)
            if page is None:
                return found
            found += [
                StoredPart(each["PartNumber"], each["Size"], each["ETag"].strip('"'))
                for each in page.get("Parts", ())
            ]

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        """See Multipart."""
        with storage_errors("write"):
            self._client.complete_multipart_upload(
                **self._where(key, upload_id),
                MultipartUpload={
                    "Parts": [{"PartNumber": each.number, "ETag": each.etag} for each in parts]
                },
            )

    def abort(self, key: str, upload_id: str) -> None:
        """See Multipart."""
        with suppress(ObjectNotFound), storage_errors("delete"):
            self._client.abort_multipart_upload(**self._where(key, upload_id))

    def _part(self, key: str, upload_id: str, part: IncomingPart) -> Any:
        told = {"ContentMD5": part.content_md5} if part.content_md5 else {}
        return self._where(key, upload_id) | {"PartNumber": part.number} | told

    def _where(self, key: str, upload_id: str) -> Any:
        return {"Bucket": self._bucket, "Key": key, "UploadId": upload_id}


def read_fully(stream: IO[bytes], size: int) -> bytes:
    """Exactly `size` bytes, or fewer at the end: a socket gives what it has."""
    buffer = bytearray()
    while len(buffer) < size and (chunk := stream.read(min(CHUNK_BYTES, size - len(buffer)))):
        buffer += chunk
    return bytes(buffer)


def _md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()
