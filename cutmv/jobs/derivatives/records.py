"""How far a derivative of an upload is until it is there: a record beside it in the storage."""

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from cutmv.jobs.keys import FILM_OF_PROXY, PEAKS, SHEET, derivative_key, upload_prefix
from cutmv.jobs.model import Upload
from cutmv.jobs.rows import WRONG
from cutmv.media import Analysis, Overview, Proxy
from cutmv.storage import ObjectNotFound, Storage

#: Seconds after which a derivative that nobody has begun, or that nobody tells of, is given up.
BEGUN_WITHIN_S, TOLD_WITHIN_S = 900.0, 60.0
#: Bytes of what is kept at most; three hours of beats are a tenth of it.
MAX_BYTES = 20_000_000


class DerivativeState(StrEnum):
    """What a derivative is at."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Found(Protocol):
    """What is found in an upload."""

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it."""


F = TypeVar("F", bound=Found)


@dataclass(frozen=True)
class Derivative(Generic[F]):
    """A kind of what is made of an upload: its name, and how it is read; none is another version's.

    What the names of its objects begin with, beside the record, is in `objects`.

    >>> Records(storage, ANALYSIS).of(upload)
    """

    name: str
    read: Callable[[dict[str, Any]], F | None]
    objects: tuple[str, ...] = ()

    def stored_bytes(self, storage: Storage, upload: Upload) -> int:
        """The bytes that are stored of it beside an upload. Raises StorageError."""
        prefix = upload_prefix(upload.id, upload.key)
        own = tuple(prefix + name for name in (self.name, *self.objects))
        return sum(each.size for each in storage.list(prefix) if each.key.startswith(own))


ANALYSIS = Derivative("analysis", Analysis.from_json)
OVERVIEW = Derivative("overview", Overview.from_json, (PEAKS, SHEET))
PROXY = Derivative("proxy", Proxy.from_json, (FILM_OF_PROXY,))
#: All kinds, by their names.
DERIVATIVES: dict[str, Derivative[Any]] = {each.name: each for each in (ANALYSIS, OVERVIEW, PROXY)}


@dataclass(frozen=True)
class Record(Generic[F]):
    """How far a derivative is, in percent, what is found so far, or why it failed, in one line."""

    state: DerivativeState
    percent: float = 0.0
    error: str | None = None
    found: F | None = None
    #: When this was written, in seconds since 1970.
    at: float = 0.0

    @property
    def pending_s(self) -> float:
        """Seconds for which somebody may still be at it; none when nobody is."""
        within = {DerivativeState.QUEUED: BEGUN_WITHIN_S, DerivativeState.RUNNING: TOLD_WITHIN_S}
        return max(0.0, within.get(self.state, 0.0) - max(0.0, time.time() - self.at))


class Records(Generic[F]):
    """The records of one kind in a storage. Every method raises StorageError when that fails."""

    def __init__(self, storage: Storage, kind: Derivative[F]) -> None:
        self._storage, self._kind = storage, kind

    def of(self, upload: Upload) -> Record[F] | None:
        """What is known of the derivative of an upload; none if nobody asked for it."""
        try:
            with self._storage.open_range(self._key(upload)) as chunks:
                text = b"".join(chunks)
        except ObjectNotFound:
            return None
        try:
            return self._read(json.loads(text))
        except WRONG:  # it is made again
            return None

    def keep(self, upload: Upload, record: Record[F]) -> Record[F]:
        """Write a record, with the time; returns it."""
        kept = replace(record, at=time.time())
        plain = {"state": kept.state, "percent": kept.percent, "error": kept.error, "at": kept.at}
        plain |= {self._kind.name: kept.found.to_json() if kept.found else None}
        self._storage.put_stream(
            self._key(upload),
            io.BytesIO(json.dumps(plain).encode()),
            content_type="application/json",
            max_bytes=MAX_BYTES,
        )
        return kept

    def forget(self, upload: Upload) -> None:
        """Delete a record: whoever makes the derivative stops."""
        self._storage.delete(self._key(upload))

    def _key(self, upload: Upload) -> str:
        return derivative_key(upload, self._kind.name)

    def _read(self, plain: Any) -> Record[F] | None:
        found = self._kind.read(plain[self._kind.name]) if plain[self._kind.name] else None
        state = DerivativeState(plain["state"])
        if state is DerivativeState.DONE and found is None:
            return None
        return Record(state, float(plain["percent"]), plain["error"], found, float(plain["at"]))
