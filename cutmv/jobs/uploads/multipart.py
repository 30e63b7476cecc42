"""Uploads that come in parts, so that one which breaks goes on where it was.

Its row is there from the first request to the last, and what is stored of it is what the storage
says. So whoever dies, the client or the server, the rest is sent, and completing asked for, again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import IO, Any

import sqlalchemy as sa

from cutmv.database import now, unreadable
from cutmv.jobs.keys import upload_key
from cutmv.jobs.model import KeyReused, UnknownUpload, Upload, id_for, new_id
from cutmv.jobs.quotas import alone_with, require_bytes, require_row, require_rows
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import multipart_uploads, uploads
from cutmv.jobs.uploads.accept import NoVideo, content_type_of, probe_stored
from cutmv.media import HEAD_BYTES, Cache, MediaError
from cutmv.people import require_account
from cutmv.storage import IncomingPart, ObjectNotFound, SignedPart, Storage, StoredPart

#: Bytes of a part: small enough to be sent again over a bad line, and for proxies that take 100 MB
#: at most; S3 wants 5 MiB or more.
PART_BYTES = 16 * 1_048_576
#: Parts of an upload at most, by S3's limit of 10,000: the parts of larger ones are larger.
MAX_PARTS = 9_000
#: Seconds after which an upload that nobody has finished is deleted: a slow line takes a day for
#: ten gigabytes, and a phone sleeps at night.
UNFINISHED_AGE_S = 3 * 86_400.0


class MissingParts(Exception):
    """An upload can't be completed before all of its parts are stored."""

    def __init__(self, numbers: Sequence[int]) -> None:
        told = f"{len(numbers)} parts of the upload are missing, the first is number {numbers[0]}."
        super().__init__(told)
        self.numbers = numbers


class WrongPart(Exception):
    """The upload has no part of this number; one line for people."""


class TooManyUnfinished(Exception):
    """The person has so many unfinished uploads that no other can begin."""


@dataclass(frozen=True)
class MultipartUpload:
    """An upload that has begun: `size` bytes in parts of `part_bytes`, but for the last.

    The storage knows it by `storage_id`. Its upload will have its `id`; `created_at` is in seconds
    since 1970.
    """

    id: str
    person_id: str | None
    filename: str
    size: int
    content_type: str
    key: str
    storage_id: str
    part_bytes: int
    created_at: float

    @property
    def parts(self) -> int:
        """The number of its parts."""
        return -(-self.size // self.part_bytes)

    def part(self, number: int, md5: bytes | None = None) -> IncomingPart:
        """A part of it. Raises WrongPart."""
        if not 1 <= number <= self.parts:
            raise WrongPart(f"The upload has no part {number}: its parts are 1 to {self.parts}.")
        offset = (number - 1) * self.part_bytes
        return IncomingPart(number, min(self.part_bytes, self.size - offset), offset, md5)


class MultipartUploads:
    """Uploads that come in parts, of a job store and a storage.

    All methods raise SQLAlchemyError and StorageError when these fail, and UnknownUpload for an
    upload that is not there, is finished, or is not of the person `of`, where one is given.
    """

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store, self._storage = store, storage

    def begin(
        self,
        filename: str,
        size: int,
        head: bytes,
        *,
        request_key: str | None = None,
        person_id: str | None = None,
    ) -> MultipartUpload:
        """Begin an upload of `size` bytes, which start with `head`: HEAD_BYTES of them, or all.

        Of one `request_key` there is one. Raises EmptyUpload, NoVideo, TooManyUnfinished,
        TooManyRows, StorageFull and KeyReused.
        """
        content_type = content_type_of(head[:HEAD_BYTES])
        upload_id, key = id_for("upload", request_key), upload_key(new_id())
        begun = self._find(upload_id)
        if begun is None:
            require_row(self._store.engine, person_id, self._store.limits, upload_id)
            storage_id = self._storage.multipart.create(key, content_type=content_type)
            made = MultipartUpload(
                id=upload_id,
                person_id=person_id,
                filename=filename,
                size=size,
                content_type=content_type,
                key=key,
                storage_id=storage_id,
                part_bytes=max(PART_BYTES, -(-size // MAX_PARTS)),
                created_at=0.0,
            )
            try:
                return self._add(made)
            except BaseException as error:
                with suppress(Exception):  # else it expires
                    self._storage.multipart.abort(key, storage_id)
                begun = self._find(upload_id) if isinstance(error, sa.exc.IntegrityError) else None
                if begun is None:
                    raise
        if (begun.filename, begun.size, begun.person_id) != (filename, size, person_id):
            raise KeyReused
        return begun

    def get(self, upload_id: str, of: str | None = None) -> MultipartUpload:
        """The upload of this id that has begun."""
        found = self._find(upload_id)
        if found is None or of not in (None, found.person_id):
            raise UnknownUpload(f"There is no upload {upload_id} under way; it may have expired.")
        return found

    def of_person(self, of: str | None) -> list[MultipartUpload]:
        """Those of a person, or of all for None, the newest first."""
        mine = sa.true() if of is None else multipart_uploads.c.person_id == of
        return self._rows(mine)

    def parts(self, upload: MultipartUpload) -> list[StoredPart]:
        """The parts that are stored."""
        with _there(upload):
            return self._storage.multipart.parts(upload.key, upload.storage_id)

    def sign(self, upload: MultipartUpload, part: IncomingPart) -> SignedPart | None:
        """Where a client may send a part itself; None where we must take it."""
        return self._storage.multipart.sign(upload.key, upload.storage_id, part)

    def put(self, upload: MultipartUpload, part: IncomingPart, stream: IO[bytes]) -> StoredPart:
        """Store a part. Raises PartDamaged, and what the stream raises."""
        with _there(upload):
            return self._storage.multipart.put(upload.key, upload.storage_id, part, stream)

    def complete(
        self,
        upload_id: str,
        *,
        of: str | None = None,
        cache: Cache | None = None,
        probing: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it keeps no state
    ) -> Upload:
        """Make the upload of its parts; also where that was done before, or half of it.

        Raises MissingParts; NoVideo and MediaError where it is none that can be read, of which
        nothing is kept then; MediaUnavailable.
        """
        try:
            begun = self.get(upload_id, of)
        except UnknownUpload:
            return self._store.upload(upload_id, of)
        self._join(begun)
        try:
            with self._storage.open_range(begun.key, 0, HEAD_BYTES) as chunks:
                if content_type_of(b"".join(chunks)) != begun.content_type:
                    raise NoVideo("The video is another than the one whose first bytes were sent.")
            with probing:
                info = probe_stored(self._storage, begun.key, cache)
        except (NoVideo, MediaError):
            self.abort(begun)
            raise
        upload = self._store.add_upload(
            Upload(
                id=begun.id,
                filename=begun.filename,
                size=begun.size,
                content_type=begun.content_type,
                key=begun.key,
                info=info,
                created_at=0.0,
                person_id=begun.person_id,
            )
        )
        self._forget(begun)
        return upload

    def abort(self, upload: MultipartUpload) -> None:
        """Delete all that is stored of an upload, unless it has become one meanwhile."""
        self._storage.multipart.abort(upload.key, upload.storage_id)
        if not self._store.has_upload(upload.key):
            self._storage.delete(upload.key)
        self._forget(upload)

    def expired(self, age_s: float) -> list[MultipartUpload]:
        """Those that began `age_s` seconds ago or earlier."""
        return self._rows(multipart_uploads.c.created_at < now() - age_s)

    def forget_unreadable(self) -> None:
        """Delete the rows that can't be read."""
        with self._store.engine.begin() as db:
            for row in db.execute(sa.select(multipart_uploads)).all():
                if unreadable(multipart_uploads, row):  # what is stored of it expires
                    db.execute(multipart_uploads.delete().where(multipart_uploads.c.id == row.id))

    def _join(self, begun: MultipartUpload) -> None:
        """Have the storage make the object, unless it has."""
        with suppress(UnknownUpload):
            stored = self.parts(begun)
            whole = {part.number for part in stored if part.size == begun.part(part.number).size}
            if missing := [each for each in range(1, begun.parts + 1) if each not in whole]:
                raise MissingParts(missing)
            with suppress(ObjectNotFound):  # another request has, just now
                self._storage.multipart.complete(begun.key, begun.storage_id, stored)
        try:
            with _there(begun):
                self._storage.stat(begun.key)
        except UnknownUpload:
            self._forget(begun)
            raise

    def _add(self, made: MultipartUpload) -> MultipartUpload:
        own = multipart_uploads.c.person_id.is_not_distinct_from(made.person_id)
        row: dict[str, Any] = {name: getattr(made, name) for name in _NAMES}
        with self._store.engine.begin() as db:
            alone_with(db, made.person_id)
            if made.person_id is not None:
                require_account(db, made.person_id)
            most = self._store.limits.unfinished_uploads
            if (db.scalar(sa.select(sa.func.count()).where(own)) or 0) >= most:
                raise TooManyUnfinished(
                    f"You have {most} unfinished uploads, the limit. Delete some."
                )
            if db.scalar(sa.select(sa.exists().where(uploads.c.id == made.id))):
                raise KeyReused
            require_bytes(db, made.person_id, self._store.limits, made.size, but=made.id)
            row["created_at"] = db.scalar(sa.select(now())) or 0.0
            db.execute(multipart_uploads.insert().values(row))
            require_rows(db, made.person_id, self._store.limits)
        return MultipartUpload(**row)

    def _find(self, upload_id: str) -> MultipartUpload | None:
        return next(iter(self._rows(multipart_uploads.c.id == upload_id)), None)

    def _rows(self, condition: sa.ColumnElement[bool]) -> list[MultipartUpload]:
        newest = sa.select(multipart_uploads).where(condition)
        with self._store.reading() as db:
            rows = db.execute(newest.order_by(multipart_uploads.c.created_at.desc())).all()
        wanted = [row for row in rows if not unreadable(multipart_uploads, row)]
        return [MultipartUpload(**row._mapping) for row in wanted]

    def _forget(self, upload: MultipartUpload) -> None:
        with self._store.engine.begin() as db:
            db.execute(multipart_uploads.delete().where(multipart_uploads.c.id == upload.id))


@contextmanager
def _there(upload: MultipartUpload) -> Iterator[None]:
    """Raise UnknownUpload where the storage has nothing of an upload."""
    try:
        yield
    except ObjectNotFound:
        raise UnknownUpload(f"Nothing is stored of the upload {upload.id}.") from None


_NAMES = tuple(MultipartUpload.__dataclass_fields__)
