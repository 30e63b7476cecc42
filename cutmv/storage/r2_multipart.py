"""Objects of a bucket that come in parts, which a client may send to R2 by itself."""

from collections.abc import Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from cutmv.storage.base import ObjectNotFound, PartCutOff, SignedPart, StoredPart
from cutmv.storage.r2_errors import storage_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Seconds for which a client may send a part: it asks for another URL then.
PART_URL_S = 3600


class R2Multipart:
    """See Multipart."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def create(self, key: str, *, content_type: str) -> str:
        """See Multipart."""
        with storage_errors("write"):
            made = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ContentType=content_type
            )
        return made["UploadId"]

    def sign(
        self, key: str, upload_id: str, number: int, *, size: int, md5: str | None
    ) -> SignedPart:
        """See Multipart. R2 takes a request of this length alone, since it is signed for."""
        headers = {} if md5 is None else {"Content-MD5": md5}
        told: dict[str, Any] = {} if md5 is None else {"ContentMD5": md5}
        url = self._client.generate_presigned_url(
            "upload_part",
            Params={
                **self._where(key, upload_id),
                "PartNumber": number,
                "ContentLength": size,
                **told,
            },
            ExpiresIn=PART_URL_S,
        )
        return SignedPart(url, headers)

    def put(
        self, key: str, upload_id: str, number: int, stream: IO[bytes], *, size: int, offset: int
    ) -> StoredPart:
        """See Multipart. A part is held in memory, so that it can be sent again."""
        del offset
        body = bytearray()
        while len(body) < size and (chunk := stream.read(size - len(body))):
            body += chunk
        if len(body) < size:
            raise PartCutOff(f"Part {number} has {len(body)} bytes of {size}.")
        with storage_errors("write"):
            answer = self._client.upload_part(
                **self._where(key, upload_id), PartNumber=number, Body=bytes(body)
            )
        return StoredPart(number, size, answer["ETag"].strip('"'))

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

    def _where(self, key: str, upload_id: str) -> Any:
        return {"Bucket": self._bucket, "Key": key, "UploadId": upload_id}
