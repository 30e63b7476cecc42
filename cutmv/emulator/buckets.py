"""Stands for R2's event notifications: looks at the buckets of an S3 server, and tells queues.

S3 servers tell nobody of their objects, so it looks at what there is every second. What was put and
deleted between two looks, or while it did not run, is not told.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from cutmv.emulator.model import Json, NewMessage, iso
from cutmv.emulator.store import Store
from cutmv.emulator.store.commit import GroupCommit

#: Seconds between two looks.
LOOK_S = 1.0
#: The key where the environment has none: a server for development takes any.
ANY_KEY = "local"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Object:
    """What R2 tells of an object, and when it was put."""

    size: int
    etag: str
    put_at: datetime


#: Objects by their keys.
Objects = Mapping[str, Object]


class Buckets:
    """The buckets for which there are rules, as they were at the last look."""

    def __init__(
        self,
        commits: GroupCommit,
        look: Callable[[str], Objects],
        account_id: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._commits, self._look = commits, look
        self._account_id, self._now_ms = account_id, now_ms
        self._seen: dict[str, Objects] = {}

    async def watch(self) -> None:
        """Tell queues of what changes, until this is cancelled."""
        while True:
            try:
                await self.tell()
            except Exception as error:  # the server is away, say: it is looked at again
                log.warning("the buckets can't be looked at: %s", error)
            await asyncio.sleep(LOOK_S)

    async def tell(self) -> None:
        """Look once, and tell queues of what has changed since the last time."""
        rules = await self._commits.run(lambda store: store.registry.all_notification_rules())
        for bucket in {rule.bucket for rule in rules}:
            found = await asyncio.to_thread(self._look, bucket)
            before = self._seen.get(bucket, found)  # a new rule tells of nothing that was there
            messages = [
                (rule.queue_id, self._message(bucket, action, key, found.get(key)))
                for action, key in _changes(before, found)
                for rule in rules
                if rule.bucket == bucket and _tells(rule.document, action, key)
            ]
            if messages:
                await self._commits.run(partial(_push, messages))
            self._seen[bucket] = found

    def _message(self, bucket: str, action: str, key: str, found: Object | None) -> NewMessage:
        """What R2 tells. https://developers.cloudflare.com/r2/buckets/event-notifications/"""
        told: dict[str, Any] = {"key": key}
        if found:
            told |= {"size": found.size, "eTag": found.etag}
        event = {
            "account": self._account_id,
            "action": action,
            "bucket": bucket,
            "object": told,
            "eventTime": iso(self._now_ms()),
        }
        return NewMessage(json.dumps(event).encode(), "json", delay=None)


def looks_at(url: str, environ: Mapping[str, str]) -> Callable[[str], Objects]:
    """What lists a bucket of the S3 server at `url`: none of its objects where there is no such.

    The keys are those of R2 in the environment, or any. Raises ImportError without boto3.
    """
    import boto3  # who watches no bucket needs no client of S3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="auto",
        aws_access_key_id=environ.get("R2_ACCESS_KEY_ID", ANY_KEY),
        aws_secret_access_key=environ.get("R2_SECRET_ACCESS_KEY", ANY_KEY),
    )

    def look(bucket: str) -> Objects:
        try:
            pages = list(client.get_paginator("list_objects_v2").paginate(Bucket=bucket))
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise
            return {}
        listed = (each for page in pages for each in page.get("Contents", ()))
        return {
            each["Key"]: Object(each["Size"], each["ETag"].strip('"'), each["LastModified"])
            for each in listed
        }

    return look


def _changes(before: Objects, after: Objects) -> Iterator[tuple[str, str]]:
    """The actions that made one of the other, and the keys that they were on."""
    yield from (("PutObject", key) for key, each in after.items() if before.get(key) != each)
    yield from (("DeleteObject", key) for key in before if key not in after)


def _tells(rule: Json, action: str, key: str) -> bool:
    matches = key.startswith(rule["prefix"]) and key.endswith(rule["suffix"])
    return bool(matches and action in rule["actions"])


def _push(messages: Iterable[tuple[str, NewMessage]], store: Store) -> None:
    for queue_id, message in messages:
        store.messages.push(queue_id, [message])
