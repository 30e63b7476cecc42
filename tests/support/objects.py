"""Objects that others put into the bucket, and R2's messages about them, which no server sends."""

from __future__ import annotations

from typing import Any

import boto3

from tests.support.emulator import EmulatorProcess
from tests.support.queues import client, queue_id
from tests.support.s3 import BUCKET, KEY_ID, SECRET


class Bucket:
    """The bucket, as whoever puts objects into it sees it."""

    def __init__(self, url: str) -> None:
        self._client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def put(self, key: str, content: bytes) -> None:
        """Put an object."""
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._client.delete_object(Bucket=BUCKET, Key=key)

    def keys(self, prefix: str) -> list[str]:
        """The keys of the objects whose keys start with a prefix."""
        found = self._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [stored["Key"] for stored in found.get("Contents", [])]

    def event(self, action: str, key: str) -> dict[str, Any]:
        """What R2 tells of an object."""
        told: dict[str, Any] = {"key": key}
        if action not in ("DeleteObject", "LifecycleDeletion"):
            head = self._client.head_object(Bucket=BUCKET, Key=key)
            told |= {"size": head["ContentLength"], "eTag": head["ETag"].strip('"')}
        return {
            "account": "acc",
            "action": action,
            "bucket": BUCKET,
            "object": told,
            "eventTime": "2026-11-26T19:36:44.379Z",
        }


def tell(emulator: EmulatorProcess, queue: str, *events: dict[str, Any]) -> None:
    """Put R2's messages into a queue, as JSON."""
    messages = [{"body": event, "content_type": "json"} for event in events]
    client(emulator).put(queue_id(emulator, queue), messages, 1e12)
