"""Cloudflare's account: the token, the queues as `provision` wants them, and the bucket."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from kombu.exceptions import KombuError

from cutmv.config import Settings
from cutmv.ops import bucket as buckets
from cutmv.ops.client import client_of
from cutmv.ops.finding import Finding, ok, problem, skipped, warning
from cutmv.ops.plan import Change, Fine, Item, show
from cutmv.ops.queues import Queues
from cutmv.services import open_storage
from cutmv.storage import Storage, StorageError
from cutmv.transports.cloudflare.api import Client
from cutmv.transports.cloudflare.errors import AccessDenied, CloudflareError, Refused
from cutmv.transports.cloudflare.options import Options

#: Seconds that a call may take: what is slower is no help to a worker either.
CALL_S = 5.0
#: No queue can have it, so asking for one tells of the permission and makes nothing.
IMPOSSIBLE_NAME = "-"
PROVISION = "run `cutmv provision`"
NOT_CLOUDFLARE = "no Cloudflare account is used"


def queues(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Whether the token is good, what it may do, and whether the queues are as they are needed."""
    if options is None:
        yield skipped("API token", NOT_CLOUDFLARE)
        return
    client = client_of(settings, replace(options, request_timeout=CALL_S))
    try:
        try:
            # The first page is enough to tell.
            next(client.list_queues(time.monotonic() + CALL_S, retried=False), None)
        except AccessDenied as error:
            found = "is refused" if error.status == 401 else "may not list this account's queues"
            advice = (
                "set CLOUDFLARE_API_TOKEN to a token of account CLOUDFLARE_ACCOUNT_ID with the"
                " permission Queues: Edit"
            )
            yield problem("API token", found, advice)
            return
        except CloudflareError as error:
            yield problem("API token", str(error), "check the network, and cloudflarestatus.com")
            return
        yield ok("API token", f"opens account {settings.account_id}")
        yield _may_write(client)
        try:
            for item in Queues(client, options, settings.queue_names).plan():
                yield _found(item)
        except KombuError as error:
            yield problem("queues", str(error), "run `cutmv doctor` again in a minute")
    finally:
        client.close()


def _may_write(client: Client) -> Finding:
    what = "API token's permission"
    try:
        client.create_queue(IMPOSSIBLE_NAME, time.monotonic() + CALL_S)
    except Refused:
        return ok(what, "may edit queues")
    except AccessDenied:
        return problem(what, "may not edit queues", "give the token the permission Queues: Edit")
    except CloudflareError as error:
        return warning(what, str(error), "run `cutmv doctor` again in a minute")
    return warning(what, f"a queue named {IMPOSSIBLE_NAME!r} was made", "delete it, and report it")


def bucket(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Whether files can be written, read, and kept from being replaced; and the bucket's rules."""
    storage = open_storage(settings)
    if not settings.uses_r2:
        yield skipped("bucket", "files are kept in the data directory: no R2_ACCESS_KEY_ID is set")
        yield from _writes("files", storage, "see to the data directory's permissions and space")
        return
    what = f"bucket {settings.r2_bucket}"
    planned = buckets.Bucket(settings, options, buckets.origins(settings))
    try:
        if not planned.is_there():
            yield problem(what, "is missing", PROVISION)
            return
    except buckets.BucketDenied:
        advice = "set R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY to a key that may use the bucket"
        yield problem(what, "the R2 key is refused", advice)
        return
    except StorageError as error:
        yield problem(what, str(error), "check R2_ENDPOINT_URL, R2_BUCKET and the keys")
        return
    advice = "give the R2 key Object Read & Write for this bucket"
    yield from _writes(what, storage, advice)
    try:
        for item in planned.plan()[1:]:
            yield _found(item)
    except buckets.BucketDenied:
        # Workers should have such a key.
        yield skipped(
            "bucket's rules",
            "this R2 key may not read them",
            "to check them, run `cutmv doctor` with a key of the kind Admin Read & Write",
        )
    except StorageError as error:
        yield problem("bucket's rules", str(error), "run `cutmv doctor` again in a minute")


def _writes(what: str, storage: Storage, advice: str) -> Iterator[Finding]:
    """Write a small object twice, as an output is: the second writer must lose."""
    key = f"doctor/{uuid4().hex}"
    with tempfile.TemporaryDirectory(prefix="cutmv-doctor-") as folder:
        path = Path(folder, "probe")
        path.write_bytes(b"cutmv doctor")
        try:
            storage.put_file(key, path, content_type="text/plain", if_absent=True)
            try:
                second = storage.put_file(key, path, content_type="text/plain", if_absent=True)
                with storage.open_range(key) as chunks:
                    same = b"".join(chunks) == path.read_bytes()
            finally:
                storage.delete(key)
        except (StorageError, OSError) as error:
            yield problem(what, str(error), advice)
            return
    if second or not same:
        found = (
            "a conditional write replaced an object" if second else "an object came back changed"
        )
        yield problem(what, found, "use R2, or an S3 server that knows If-None-Match")
        return
    yield ok(what, "is written, read and cleared")


def _found(item: Item) -> Finding:
    """What an item of provision's plan tells."""
    if isinstance(item, Fine):
        return ok(item.what, item.found or "is there")
    if not isinstance(item, Change):
        make = problem if item.blocks else warning
        return make(item.what, item.why, item.advice)
    if item.action == "add":
        return problem(item.what, "is missing", PROVISION)
    found = ", ".join(f"{d.name} is {show(d.old)}, not {show(d.new)}" for d in item.differences)
    if all(each.name == "message_retention_period" for each in item.differences):
        # Cloudflare's free plan fixes it, and all else works.
        return warning(item.what, found, f"{PROVISION}; the free plan fixes it")
    return problem(item.what, found, PROVISION)
