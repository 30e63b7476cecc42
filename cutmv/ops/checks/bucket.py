"""Checks of the storage: the bucket and its rules, or the folder of the data directory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from cutmv.config import Settings
from cutmv.jobs import doctor_key
from cutmv.ops.bucket_plan import BucketDenied, files_bucket, origins
from cutmv.ops.checks.planned import PROVISION_ADVICE, finding_of
from cutmv.ops.finding import Finding, ok, problem, skipped
from cutmv.services import FILES_FOLDER, open_storage
from cutmv.storage import Storage, StorageError
from cutmv.transports.cloudflare.options import Options


def bucket(settings: Settings, options: Options | None) -> Iterator[Finding]:
    """Whether objects can be written, read and not replaced; and the bucket's rules."""
    if not settings.uses_r2:
        yield skipped("bucket", "files are kept in the data directory: no R2_ACCESS_KEY_ID is set")
        folder = settings.data_dir / FILES_FOLDER
        if not folder.exists():
            yield ok("files", f"{folder} is not there yet; a start without uploads makes it")
            return
        storage = open_storage(settings, in_use=True)
        yield from _writes("files", storage, "see to the data directory's permissions and space")
        return
    what, storage = f"bucket {settings.r2_bucket}", open_storage(settings, in_use=True)
    planned = files_bucket(settings, options, origins(settings))
    try:
        if not planned.is_there():
            yield problem(what, "is missing", PROVISION_ADVICE)
            return
    except BucketDenied:
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
            yield finding_of(item)
    except BucketDenied:
        # Workers should have such a key.
        yield skipped(
            "bucket's rules",
            "this R2 key may not read them",
            "to check them, run `cutmv doctor` with a key of the kind Admin Read & Write",
        )
    except StorageError as error:
        yield problem("bucket's rules", str(error), "run `cutmv doctor` again in a minute")


def _writes(what: str, storage: Storage, advice: str) -> Iterator[Finding]:
    """Write a small object twice, as two workers write an output: the second must be refused."""
    key = doctor_key(uuid4().hex)
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
