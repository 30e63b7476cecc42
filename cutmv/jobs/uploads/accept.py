"""Accept an upload: store the video, look at what is in it, and add it to the job store."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO, Protocol, cast

import sqlalchemy as sa

from cutmv.database import DATABASE_AWAY
from cutmv.jobs.keys import upload_key
from cutmv.jobs.model import UnknownJob, Upload, id_for, new_id
from cutmv.jobs.quotas import Reservation
from cutmv.jobs.rows import lost_upload, shown_upload
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import jobs, uploads
from cutmv.media import HEAD_BYTES, Cache, MediaError, MediaInfo, container_of, probe
from cutmv.storage import Room, Storage, StorageError

#: The media type of each container, by FFmpeg's name for it. The client's own is never used: the
#: media type decides what a browser does with the file.
CONTENT_TYPES = {
    "mov": "video/mp4",
    "matroska": "video/webm",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
}


class EmptyUpload(Exception):
    """The upload has no bytes."""


class NoVideo(Exception):
    """The first bytes of the upload are those of no video that we read; one line for people."""


class IncomingBody(Protocol):
    """The bytes of a file on its way in."""

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, which stay to be read; fewer at the end of the file."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes; fewer only at the end of the file."""


class IncomingFile(Protocol):
    """A file on its way in: its name, for people only, and its bytes."""

    @property
    def filename(self) -> str:
        """The name to show."""

    @property
    def body(self) -> IncomingBody:
        """The bytes."""

    @property
    def finish(self) -> Callable[[], None]:
        """Checks, when the bytes have been read, what follows them; raises its own errors."""


def accept_upload(
    store: JobStore,
    storage: Storage,
    incoming: IncomingFile,
    *,
    max_bytes: int,
    room: Room,
    held: Reservation,
    cache: Cache | None = None,
    probing: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it keeps no state
) -> Upload:
    """Keep the video `incoming`, of at most `max_bytes` bytes, and return its upload.

    NoSpace is raised as soon as there is no `room` for more of it.

    It has the id, and the owner, for whom bytes are `held`. Where there is an upload of this id,
    and it is of the same file, that is returned, and the file that comes again is not kept.

    `probing` is entered while the video is looked at.

    Raises EmptyUpload; NoVideo before the rest of the file is read; MediaError when the video can't
    be read; StorageFull, TooLarge, another StorageError, MediaUnavailable, SQLAlchemyError,
    KeyReused, AccountGone, and whatever the file raises. Nothing is kept then, unless the database
    does not answer.
    """
    content_type = content_type_of(incoming.body.peek(HEAD_BYTES))
    key = upload_key(new_id())
    try:
        stream = cast(IO[bytes], _Checked(incoming.body, room, held))
        size = storage.put_stream(key, stream, content_type=content_type, max_bytes=max_bytes)
        incoming.finish()
        with probing:
            info = probe_stored(storage, key, cache)
        upload = store.add_upload(
            Upload(
                held.upload_id,
                incoming.filename,
                size,
                content_type,
                key,
                info,
                created_at=0.0,
                person_id=held.person_id,
            )
        )
    except DATABASE_AWAY:
        # It may have the upload although its answer was lost: the janitor deletes the file if not.
        raise
    except BaseException:
        # Whatever failed, or if the client hung up: nobody will ask for this key again.
        with contextlib.suppress(Exception):
            storage.delete(key)
        raise
    if upload.key != key:
        with contextlib.suppress(StorageError):  # the janitor deletes it then
            storage.delete(key)
    return upload


def reserve(store: JobStore, request_key: str | None, person_id: str | None) -> Reservation:
    """What holds the bytes of a person's upload; of one `request_key` there is one upload."""
    return Reservation(store.engine, store.limits, id_for("upload", request_key), person_id)


def probe_stored(storage: Storage, key: str, cache: Cache | None = None) -> MediaInfo:
    """What is in the stored video `key`, of which `cache` keeps what is read of one in R2.

    Raises MediaError, MediaUnavailable, StorageError; ObjectNotFound at once where there is none.
    """
    storage.stat(key)
    return probe(storage.source(key), cache=cache)


def current(store: JobStore, storage: Storage, upload: Upload, cache: Cache | None) -> Upload:
    """The upload, looked at anew where an earlier version told less of it. Raises as the probe."""
    if not upload.outdated:
        return upload
    return store.renew_upload(upload, probe_stored(storage, upload.key, cache))


def upload_of(store: JobStore, job_id: str) -> Upload:
    """The upload of a job, as the job shows it. Raises UnknownJob, SQLAlchemyError."""
    wanted = sa.select(uploads, jobs.c.upload_id).select_from(jobs.outerjoin(uploads))
    with store.reading() as db:
        row = db.execute(wanted.where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise UnknownJob(f"There is no job {job_id}; it may have expired.")
    return lost_upload(row.upload_id) if row.id is None else shown_upload(row)


@dataclass(frozen=True)
class _Checked:
    """A body that is read only while there is room for more, and its owner may have more."""

    body: IncomingBody
    room: Room
    held: Reservation

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes. Raises NoSpace, StorageFull."""
        self.room.require()
        content = self.body.read(size)
        self.held.arrived(len(content))
        return content


def content_type_of(head: bytes) -> str:
    """The media type of a video that starts with `head`, HEAD_BYTES of it or all.

    Raises EmptyUpload, NoVideo.
    """
    if not head:
        raise EmptyUpload("The upload is empty.")
    try:
        return CONTENT_TYPES[container_of(head)]
    except MediaError as error:
        raise NoVideo(str(error)) from None
