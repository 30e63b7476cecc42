"""Who works on which message: small records that the workers of a queue share.

A lease on Cloudflare can't be extended. So a worker that holds a message for long says so here,
again and again, and another one that gets the message a second time sees it, and waits.

A record is one of three things: *held* by an owner for so many seconds after it was written,
*free*, or *done*. It is only ever replaced by who has seen the one before (compare-and-set),
so of two who want a message one gets it. Ages are told by the store's clock, so that those of
the workers need not agree. A store is given as a URL:

- ``file:///directory`` for workers of one machine,
- ``redis://…``, ``rediss://…`` (needs the package ``redis``),
- ``r2://bucket/prefix``, by conditional writes; the keys come from ``R2_ACCESS_KEY_ID`` and
  ``R2_SECRET_ACCESS_KEY``, the address from ``R2_ENDPOINT_URL``, else from the account's id.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from cutmv.transports.cloudflare.errors import ConfigurationError, LedgerUnavailable

State = Literal["held", "free", "done"]

#: Seconds for which records are kept: no message stays in a queue for longer (Cloudflare's
#: longest retention).
RETENTION = 14 * 86_400

#: Seconds that one call to a store may take.
TIMEOUT = 5.0

#: Seconds between two removals of old files.
SWEEP_EVERY = 3600.0

#: Seconds between looks whether a directory's lock is free.
LOCK_LOOK = 0.005


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger says of a message.

    `seconds` is for how long a *held* record counts, `age` how long ago it was written,
    `version` what `Ledger.write` wants to replace it.
    """

    owner: str
    state: State
    seconds: float
    age: float
    version: str

    @property
    def remaining(self) -> float:
        """Seconds for which it is still held; 0 if it is not."""
        return max(0.0, self.seconds - self.age) if self.state == "held" else 0.0


class Ledger(Protocol):
    """A store of records. Threads share it; every method raises `LedgerUnavailable`."""

    def read(self, key: str) -> Record | None:
        """Return the record of a message, if there is one."""

    def write(
        self, key: str, owner: str, state: State, seconds: float, version: str | None
    ) -> str | None:
        """Replace the record of this version (none: there is none) and return the new version.

        Returns none, and changes nothing, where the ledger has another one.
        """

    def close(self) -> None:
        """Close the connections."""


def check_url(url: str) -> None:
    """Raise `ConfigurationError` where `url` names no ledger. It may hold a password: not shown."""
    try:
        parts = urlsplit(url)
        usable = {
            "file": parts.path.startswith("/") and parts.path != "/" and not parts.netloc,
            "redis": bool(parts.hostname),
            "rediss": bool(parts.hostname),
            "r2": bool(parts.hostname),
        }.get(parts.scheme, False)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "cloudflare transport: option lease_ledger must be file:///DIRECTORY, "
            "redis://HOST:PORT/DB or r2://BUCKET/PREFIX"
        )


def open_ledger(url: str, account_id: str, environ: Mapping[str, str] | None = None) -> Ledger:
    """Open the ledger at `url`.

    Raises `ConfigurationError` when something is missing for it.
    """
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return DirectoryLedger(Path(unquote(parts.path)))
    if parts.scheme == "r2":
        environ = os.environ if environ is None else environ
        return R2Ledger(parts.netloc, parts.path.strip("/"), account_id, environ)
    return RedisLedger(url)


def _dump(owner: str, state: State, seconds: float) -> bytes:
    # The nonce makes each write another version, also where versions are digests.
    record = {"owner": owner, "state": state, "seconds": seconds, "nonce": uuid4().hex}
    return json.dumps(record).encode()


def _load(data: bytes, age: float, version: str) -> Record:
    record = json.loads(data)
    return Record(record["owner"], record["state"], record["seconds"], max(0.0, age), version)


def _name(key: str) -> str:
    """Return a name of safe characters for a message's id, which may hold any."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


class DirectoryLedger:
    """Records as files of one directory, written under a lock that ends with its holder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._swept_at = 0.0
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cloudflare transport: option lease_ledger names the directory {directory}, which "
                f"can't be made ({error.strerror}): use one that this user may write"
            ) from None

    def read(self, key: str) -> Record | None:
        """Return the record of a message; a file is replaced whole, so no lock is needed."""
        try:
            with (self._directory / _name(key)).open("rb") as file:
                data = file.read()
                age = time.time() - os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from None
        return _load(data, age, _digest(data))

    def write(
        self, key: str, owner: str, state: State, seconds: float, version: str | None
    ) -> str | None:
        """Replace a record; see `Ledger`."""
        data = _dump(owner, state, seconds)
        try:
            with self._locked():
                found = self.read(key)
                if (found.version if found else None) != version:
                    return None
                handle, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).replace(self._directory / _name(key))
        except OSError as error:
            raise self._unavailable(error) from None
        self._sweep()
        return _digest(data)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + TIMEOUT
        with (self._directory / ".lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(LOCK_LOOK)
            yield

    def _sweep(self) -> None:
        """Remove what is older than any message, and what writers that died left behind."""
        now = time.time()
        if now - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = now
        for path in self._directory.iterdir():
            kept = SWEEP_EVERY if path.name.startswith(".new-") else RETENTION
            with contextlib.suppress(OSError):
                if path.name != ".lock" and now - path.stat().st_mtime > kept:
                    path.unlink()

    def _unavailable(self, error: OSError) -> LedgerUnavailable:
        return LedgerUnavailable(f"lease ledger {self._directory}: {error.strerror or error}")


#: Sets KEYS[1] to ARGV[2] for ARGV[3] ms if it is ARGV[1] ('' for absent); tells whether.
_REPLACE = """
local found = redis.call('GET', KEYS[1])
if (found or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class RedisLedger:
    """Records as keys that expire, replaced by a script."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError:
            raise ConfigurationError(
                "cloudflare transport: a lease_ledger in Redis needs the package redis: "
                "pip install redis"
            ) from None
        self._error = redis.RedisError
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT
        )
        self._replace: Any = self._redis.register_script(_REPLACE)

    def read(self, key: str) -> Record | None:
        """Return the record of a message."""
        with self._reported():
            pipe = self._redis.pipeline()
            pipe.get(self._key(key))
            pipe.pttl(self._key(key))
            data, left_ms = pipe.execute()
        if data is None:
            return None
        return _load(data, RETENTION - left_ms / 1000, data.decode())

    def write(
        self, key: str, owner: str, state: State, seconds: float, version: str | None
    ) -> str | None:
        """Replace a record; see `Ledger`."""
        data = _dump(owner, state, seconds)
        with self._reported():
            replaced = self._replace(
                keys=[self._key(key)], args=[version or "", data, RETENTION * 1000]
            )
        return data.decode() if replaced else None

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (self._error, OSError) as error:
            # The type alone: the text may hold the address, and that a password.
            raise LedgerUnavailable(f"lease ledger in Redis: {type(error).__name__}") from None

    def _key(self, key: str) -> str:
        return f"cutmv-lease:{_name(key)}"


class R2Ledger:
    """Records as objects, replaced by conditional writes.

    Ages are of whole seconds, as the ``Date`` and ``Last-Modified`` of an answer are; each is told
    a second too young, so that no record is over before its time.
    """

    def __init__(
        self, bucket: str, prefix: str, account_id: str, environ: Mapping[str, str]
    ) -> None:
        keys = environ.get("R2_ACCESS_KEY_ID"), environ.get("R2_SECRET_ACCESS_KEY")
        if not all(keys):
            raise ConfigurationError(
                "cloudflare transport: a lease_ledger in R2 needs R2_ACCESS_KEY_ID and "
                "R2_SECRET_ACCESS_KEY: set them in the environment"
            )
        try:
            import boto3
            from botocore import exceptions
            from botocore.config import Config
        except ImportError:
            raise ConfigurationError(
                "cloudflare transport: a lease_ledger in R2 needs the package boto3: "
                "pip install boto3"
            ) from None
        self._bucket, self._prefix = bucket, prefix
        self._exceptions: Any = exceptions
        endpoint = environ.get("R2_ENDPOINT_URL")
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoint or f"https://{account_id}.r2.cloudflarestorage.com",
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            region_name="auto",
            config=Config(
                connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries={"total_max_attempts": 2}
            ),
        )

    def read(self, key: str) -> Record | None:
        """Return the record of a message."""
        try:
            with self._reported():
                found = self._s3.get_object(Bucket=self._bucket, Key=self._key(key))
                data = found["Body"].read()
        except _Precondition:
            return None
        date = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (date - found["LastModified"]).total_seconds() - 1
        return _load(data, age, found["ETag"])

    def write(
        self, key: str, owner: str, state: State, seconds: float, version: str | None
    ) -> str | None:
        """Replace a record; see `Ledger`."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            with self._reported():
                written = self._s3.put_object(
                    Bucket=self._bucket,
                    Key=self._key(key),
                    Body=_dump(owner, state, seconds),
                    **condition,
                )
        except _Precondition:
            return None
        return str(written["ETag"])

    def close(self) -> None:
        """Close the connections."""
        self._s3.close()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except self._exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = error.response.get("Error", {}).get("Code")
            if status in (404, 409, 412) and code != "NoSuchBucket":
                raise _Precondition from None
            raise LedgerUnavailable(
                f"lease ledger in bucket {self._bucket!r}: HTTP {status}, {code}"
            ) from None
        except (self._exceptions.BotoCoreError, OSError) as error:
            raise LedgerUnavailable(
                f"lease ledger in bucket {self._bucket!r}: {type(error).__name__}"
            ) from None

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{_name(key)}" if self._prefix else _name(key)


class _Precondition(Exception):
    """The object is not there, or not the one that was expected."""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
