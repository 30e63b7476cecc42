"""The lease ledger: records, shared by a queue's workers, of the messages that each one holds.

A lease on Cloudflare can't be extended. So a worker that holds a message for long writes a record
of it here, again and again; another worker that gets the message a second time finds the record,
and has the message wait.

A record is in one of three states: *held* by an owner for a number of seconds after it was written,
*free*, or *done*. A write replaces only the version that the writer has read (compare-and-set), so
one of two workers that want a message gets it. The store's clock tells the age of a record, so the
workers' clocks need not agree. A URL names the store:

- ``file:///directory`` for workers of one machine,
- ``redis://…``, ``rediss://…`` (needs the package ``redis``),
- ``r2://bucket/prefix``, by conditional writes; the keys come from ``R2_ACCESS_KEY_ID`` and
  ``R2_SECRET_ACCESS_KEY``, and the address comes from ``R2_ENDPOINT_URL``, else from the account's
  id.

Where no URL does, `finding` looks for one; `edge_ledger` is the one that the edge Worker keeps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from cutmv.transports.cloudflare.errors import (
    ConfigurationError,
    LedgerRefused,
    LedgerUnavailable,
    ObjectMissing,
    ObjectStoreError,
    ObjectStoreRefused,
    extra_missing,
)
from cutmv.transports.cloudflare.messages import ObjectStore, opener
from cutmv.transports.cloudflare.messages.object_keys import LEASES, lease_key, request_key

logger = logging.getLogger(__name__)

State = Literal["held", "free", "done"]

#: Seconds for which records are kept: no message stays in a queue for longer (Cloudflare's
#: longest retention).
RECORD_RETENTION = 14 * 86_400

#: Seconds for which the id of a signed request is kept, at least: three times what a timestamp may
#: be off, since all clocks may differ.
REQUEST_RETENTION = 900

#: Days for which a bucket or a directory keeps a record after its last change: a day more.
RECORD_EXPIRE_DAYS = RECORD_RETENTION // 86_400 + 1

#: Seconds that one call to Redis may take.
REDIS_TIMEOUT = 5.0

#: Seconds between two removals of old records from a directory.
SWEEP_INTERVAL = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """The content of a message's record.

    `seconds` is how long a *held* record counts; `losses` is how many holders were lost so far.
    """

    owner: str
    state: State
    seconds: float
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A message's record as the ledger has it.

    `age` is how many seconds ago it was written; `Ledger.write` takes `version` to replace it.
    """

    entry: Entry
    age: float
    version: str

    @property
    def remaining(self) -> float:
        """Seconds for which the message is still held; 0 if it is not."""
        held = self.entry.state == "held"
        return max(0.0, self.entry.seconds - self.age) if held else 0.0


class Ledger(Protocol):
    """A store of records. Threads share it; `read` and `write` raise `LedgerUnavailable`."""

    def read(self, key: str) -> Record | None:
        """Return the record of a message, if there is one."""

    def write(self, key: str, entry: Entry, version: str | None) -> str | None:
        """Replace the record of this version (none: no record yet) and return the new version.

        Returns none, and changes nothing, where the ledger has another version.
        """

    def accept(self, request_id: str) -> bool:
        """Note for REQUEST_RETENTION, at least, that a signed request is used; False if it was.

        Raises `LedgerUnavailable`.
        """

    def close(self) -> None:
        """Close the connections."""


def open_ledger(url: str, account_id: str, environ: Mapping[str, str] | None = None) -> Ledger:
    """Open the ledger at `url`.

    Raises `ConfigurationError` when a setting, a package or a directory that it needs is missing.
    """
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss"):
        return RedisLedger.at(url)
    if parts.scheme == "file":
        directory = Path(unquote(parts.path))
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cloudflare transport: option lease_ledger names the directory {directory}, which "
                f"can't be made ({error.strerror}): use one that this user may write"
            ) from None
    return ObjectLedger(opener(url, account_id, environ)())


def _dump(entry: Entry) -> bytes:
    # The nonce gives each write a version of its own, also where versions are digests.
    return json.dumps({**asdict(entry), "nonce": uuid4().hex}).encode()


def _load(data: bytes, age: float, version: str) -> Record:
    try:
        written = json.loads(data)
        del written["nonce"]
        return Record(Entry(**written), max(0.0, age), version)
    except (ValueError, TypeError, KeyError):
        raise LedgerUnavailable(
            "lease ledger: a record is none of ours; is the place taken?"
        ) from None


class ObjectLedger:
    """Records as objects of a directory or a bucket, replaced by conditional writes."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._swept_at: float | None = None
        self._warned = False

    def read(self, key: str) -> Record | None:
        """Return the record of a message."""
        with self._reported():
            try:
                found = self._objects.get(lease_key(key))
            except ObjectMissing:
                return None
        return _load(found.data, found.age, found.etag)

    def write(self, key: str, entry: Entry, version: str | None) -> str | None:
        """Replace a record; see `Ledger`."""
        data = _dump(entry)
        self._sweep()
        with self._reported():
            if version is None:
                return self._objects.put_if_absent(lease_key(key), data)
            return self._objects.replace(lease_key(key), data, version)

    def accept(self, request_id: str) -> bool:
        """Note that a signed request is used; see `Ledger`. It is kept as long as a record."""
        self._sweep()
        with self._reported():
            return self._objects.put_if_absent(request_key(request_id), b"") is not None

    def close(self) -> None:
        """Do nothing: the store has nothing to close."""

    def _sweep(self) -> None:
        """Have records that are older than any message removed; a bucket then goes on by itself."""
        now = time.monotonic()
        if self._swept_at is not None and now - self._swept_at < SWEEP_INTERVAL:
            return
        self._swept_at = now
        try:
            self._objects.expire(LEASES, RECORD_EXPIRE_DAYS)
        except ObjectStoreError as error:
            if not self._warned:
                logger.warning("cloudflare: records of the lease ledger do not expire: %s", error)
            self._warned = True

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except ObjectStoreRefused as error:
            raise LedgerRefused(f"lease ledger: {error}") from None
        except ObjectStoreError as error:
            raise LedgerUnavailable(f"lease ledger: {error}") from None


#: Sets KEYS[1] to ARGV[2] for ARGV[3] ms if it is ARGV[1] ('' for absent); returns 1 if it did.
_REPLACE = """
local found = redis.call('GET', KEYS[1])
if (found or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class RedisLedger:
    """Records as keys of Redis that expire, replaced by a script."""

    def __init__(self, client: Any) -> None:
        import redis

        self._error = redis.RedisError
        self._no_permission = redis.exceptions.NoPermissionError
        self._redis = client
        self._replace: Any = self._redis.register_script(_REPLACE)

    @classmethod
    def at(cls, url: str) -> RedisLedger:
        """Return the ledger in the Redis at `url`."""
        try:
            import redis
        except ImportError:
            raise extra_missing("a lease_ledger in Redis", "redis") from None
        return cls(
            redis.Redis.from_url(
                url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT
            )
        )

    def read(self, key: str) -> Record | None:
        """Return the record of a message."""
        with self._reported():
            pipe = self._redis.pipeline()
            pipe.get(self._key(key))
            pipe.pttl(self._key(key))
            data, left_ms = pipe.execute()
        if data is None:
            return None
        return _load(data, RECORD_RETENTION - left_ms / 1000, data.decode())

    def write(self, key: str, entry: Entry, version: str | None) -> str | None:
        """Replace a record; see `Ledger`."""
        data = _dump(entry)
        with self._reported():
            replaced = self._replace(
                keys=[self._key(key)], args=[version or "", data, RECORD_RETENTION * 1000]
            )
        return data.decode() if replaced else None

    def accept(self, request_id: str) -> bool:
        """Note that a signed request is used; see `Ledger`."""
        key = f"cutmv-{request_key(request_id)}"
        with self._reported():
            return bool(self._redis.set(key, b"", px=REQUEST_RETENTION * 1000, nx=True))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except self._no_permission:
            raise LedgerRefused("lease ledger in Redis: its user may not write there") from None
        except (self._error, OSError) as error:
            # The type alone: the text may hold the address, which may hold a password.
            raise LedgerUnavailable(f"lease ledger in Redis: {type(error).__name__}") from None

    def _key(self, key: str) -> str:
        return f"cutmv-{lease_key(key)}"
