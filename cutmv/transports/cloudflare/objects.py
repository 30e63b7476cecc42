"""A small object store: an R2 bucket, or a directory for one machine and for tests.

``r2://BUCKET/PREFIX`` takes its credentials from ``R2_ACCESS_KEY_ID``, ``R2_SECRET_ACCESS_KEY``
and, for other addresses than the account's own, ``R2_ENDPOINT_URL``. ``file:///DIRECTORY``
needs none. Keys are below the URL's prefix. boto3 is imported when an R2 store is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from cutmv.transports.cloudflare.errors import (
    ConfigurationError,
    ObjectMissing,
    ObjectStoreError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Seconds to connect, and to wait for the next bytes; tries of one call. A publish waits for it.
CONNECT_S, READ_S, TRIES = 3, 5, 3

#: Connections kept: one for each reader of a large message.
POOL_SIZE = 16

#: Objects that one DeleteObjects call takes, by the S3 API.
MAX_DELETES = 1000

#: S3's answers to a conditional write that somebody else's write has beaten.
_TAKEN = {"412", "PreconditionFailed", "ConditionalRequestConflict", "409"}


@dataclass(frozen=True, slots=True)
class Stored:
    """An object, the tag that its next change must name, and its age by the store's clock (s)."""

    data: bytes
    etag: str
    age: float


class Objects(Protocol):
    """The store. Threads share it. All methods raise `ObjectStoreError` when it fails."""

    def get(self, key: str) -> Stored:
        """Return an object; raises `ObjectMissing`."""
        ...

    def put(self, key: str, data: bytes) -> str:
        """Write an object, over any that is there; return its tag."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """Write an object and return its tag, or none where there is one already."""
        ...

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """Write over the object that has this tag and return the new tag; none if it is gone."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; that one is gone is no error."""
        ...

    def expire(self, prefix: str, days: int) -> None:
        """Have objects whose key starts so removed `days` days after their last change."""
        ...


def check_url(option: str, url: str) -> None:
    """Raise `ConfigurationError`, naming the option, unless `url` is a store's."""
    parts = urlsplit(url)
    fits = {
        "r2": parts.hostname and parts.netloc == parts.hostname,
        "file": not parts.netloc and parts.path.startswith("/"),
    }.get(parts.scheme)
    if not fits or parts.query or parts.fragment:
        # A URL that has credentials in it is not shown.
        shown = repr(url) if "@" not in url else "one with credentials in it"
        raise ConfigurationError(
            f"cloudflare transport: option {option} must be r2://BUCKET/PREFIX or "
            f"file:///DIRECTORY, not {shown}"
        )


def opener(
    url: str, account_id: str, environ: Mapping[str, str] | None = None
) -> Callable[[], Objects]:
    """Return what opens the store at `url`.

    Raises `ConfigurationError` when boto3 or R2 credentials are missing. Whoever never opens the
    store never pays for boto3.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return lambda: DirectoryObjects(Path(unquote(parts.path)))
    environ = os.environ if environ is None else environ
    names = ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY")
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise ConfigurationError(
            f"cloudflare transport: {' and '.join(missing)} missing: {url} needs "
            f"{'it' if len(missing) == 1 else 'them'} in the environment"
        )
    if find_spec("boto3") is None:
        raise ConfigurationError(
            f"cloudflare transport: {url} needs the package boto3: "
            "pip install '.[r2]' in a checkout of CUTMV"
        )
    key_id, secret = (environ[name] for name in names)
    endpoint = environ.get("R2_ENDPOINT_URL") or f"https://{account_id}.r2.cloudflarestorage.com"

    def open_r2() -> Objects:
        return R2Objects(_client(endpoint, key_id, secret), parts.netloc, parts.path.strip("/"))

    return open_r2


def _client(endpoint: str, key_id: str, secret: str) -> S3Client:
    import boto3
    from botocore.client import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name="auto",
        config=Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=POOL_SIZE,
            retries={"mode": "standard", "total_max_attempts": TRIES},
            # R2 refuses the trailing checksums that newer versions of boto3 add by themselves.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        ),
    )


def expiry_rule(prefix: str, days: int) -> Any:
    """Return the lifecycle rule that ends objects whose key starts so, `days` days old."""
    return {
        "ID": f"expire-{prefix.strip('/').replace('/', '-')}",
        "Filter": {"Prefix": prefix},
        "Status": "Enabled",
        "Expiration": {"Days": days},
    }


def lifecycle_rules(client: S3Client, bucket: str) -> list[Any]:
    """Return a bucket's lifecycle rules; raises boto3's errors."""
    from botocore.exceptions import ClientError

    try:
        answer = client.get_bucket_lifecycle_configuration(Bucket=bucket)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration":
            return []
        raise
    # What older S3 servers answer for a rule's prefix would be refused beside its filter.
    return [
        {key: value for key, value in rule.items() if key != "Prefix" or "Filter" not in rule}
        for rule in answer.get("Rules", ())
    ]


def put_lifecycle_rule(client: S3Client, bucket: str, rule: Any) -> None:
    """Set a rule in place of the one of its ID, beside all others; raises boto3's errors."""
    others = [each for each in lifecycle_rules(client, bucket) if each.get("ID") != rule["ID"]]
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [*others, rule]}
    )


class R2Objects:
    """A bucket, over the S3 API. See `Objects`."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client, self._bucket = client, bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def get(self, key: str) -> Stored:
        """See `Objects`."""
        with self._told("read"):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            with contextlib.closing(answer["Body"]) as body:
                data = body.read()
        # Both are of whole seconds: an object is told too young rather than too old.
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (now - answer["LastModified"]).total_seconds() - 1
        return Stored(data, answer["ETag"], max(0.0, age))

    def put(self, key: str, data: bytes) -> str:
        """See `Objects`."""
        with self._told("write"):
            return self._put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """See `Objects`."""
        with contextlib.suppress(_Taken), self._told("write"):
            return self._put(key, data, IfNoneMatch="*")
        return None

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """See `Objects`."""
        with contextlib.suppress(_Taken, ObjectMissing), self._told("write"):
            return self._put(key, data, IfMatch=etag)
        return None

    def delete(self, keys: Sequence[str]) -> None:
        """See `Objects`."""
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
        """See `Objects`: a lifecycle rule of the bucket, beside those that it has.

        Needs a token that may administer the bucket; the error says what to run without one.
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
            if code in _TAKEN:
                raise _Taken from None
            # A missing bucket is no missing object: it would take all messages for lost.
            kind = ObjectMissing if code == "NoSuchKey" else ObjectStoreError
            raise kind(f"R2 bucket {self._bucket!r}: can't {what}: {code} {text}".strip()) from None
        except (BotoCoreError, OSError) as error:
            raise ObjectStoreError(f"R2 bucket {self._bucket!r}: can't {what}: {error}") from None


class _Taken(Exception):
    """Somebody else's write came first."""


class DirectoryObjects:
    """A directory of this machine; changes are atomic and hold a lock. See `Objects`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, key: str) -> Stored:
        """See `Objects`."""
        with self._told("read"), self._path(key).open("rb") as file:
            data, written = file.read(), os.fstat(file.fileno()).st_mtime
        return Stored(data, _etag(data), max(0.0, time.time() - written))

    def put(self, key: str, data: bytes) -> str:
        """See `Objects`."""
        with self._told("write"), self._locked():
            return self._write(key, data)

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """See `Objects`."""
        with self._told("write"), self._locked():
            return None if self._path(key).exists() else self._write(key, data)

    def replace(self, key: str, data: bytes, etag: str) -> str | None:
        """See `Objects`."""
        with self._told("write"), self._locked():
            try:
                found = _etag(self._path(key).read_bytes())
            except FileNotFoundError:
                return None
            return self._write(key, data) if found == etag else None

    def delete(self, keys: Sequence[str]) -> None:
        """See `Objects`."""
        with self._told("delete"), self._locked():
            for key in keys:
                self._path(key).unlink(missing_ok=True)

    def expire(self, prefix: str, days: int) -> None:
        """See `Objects`: what is that old now is removed; nobody will do it later."""
        latest = time.time() - days * 86_400
        with self._told("delete"), self._locked():
            for path in self._directory.rglob("*"):
                key = path.relative_to(self._directory).as_posix()
                if key.startswith(prefix) and path.is_file() and path.stat().st_mtime < latest:
                    path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = self._directory / key
        if ".." in path.parts:
            raise ObjectMissing(f"directory {str(self._directory)!r}: no key is {key!r}")
        return path

    def _write(self, key: str, data: bytes) -> str:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return _etag(data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl  # not on Windows, where only this class would miss it

        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        where = f"directory {str(self._directory)!r}: can't {what}"
        try:
            yield
        except FileNotFoundError as error:
            kind = ObjectMissing if self._directory.is_dir() else ObjectStoreError
            raise kind(f"{where}: {error.strerror}") from None
        except OSError as error:
            raise ObjectStoreError(f"{where}: {error.strerror}") from None


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
