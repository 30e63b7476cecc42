"""Uploads of objects that others have put into the bucket, which are read where they lie.

Such an upload has an id made of the object's key and entity tag. So of one object there is one
upload, however often it is told of, and an object that takes its place is another.
"""

import sqlalchemy as sa

from cutmv.jobs.model import Upload
from cutmv.jobs.names import clean_name
from cutmv.jobs.store import JobStore
from cutmv.jobs.tables import uploads
from cutmv.jobs.uploads.accept import EmptyUpload, content_type_of, probe_stored
from cutmv.jobs.uploads.stored import object_upload_id
from cutmv.media import HEAD_BYTES, Cache
from cutmv.storage import ObjectStat, Storage, TooLarge


def accept_object(
    store: JobStore,
    storage: Storage,
    found: ObjectStat,
    *,
    person_id: str | None,
    max_bytes: int,
    cache: Cache | None = None,
) -> Upload:
    """Make the upload of an object of at most `max_bytes` bytes; of one object there is one.

    Raises EmptyUpload, TooLarge, NoVideo and MediaError for what can be none; StorageFull and
    AccountGone; ObjectNotFound where the object is gone; MediaUnavailable, StorageError and
    SQLAlchemyError.
    """
    if not found.size:
        raise EmptyUpload("The file is empty.")
    if found.size > max_bytes:
        raise TooLarge(f"The file has {found.size} bytes; {max_bytes} are the most.")
    with storage.open_range(found.key, 0, HEAD_BYTES) as chunks:
        content_type = content_type_of(b"".join(chunks))
    return store.add_upload(
        Upload(
            id=object_upload_id(found),
            filename=clean_name(found.key),
            size=found.size,
            content_type=content_type,
            key=found.key,
            info=probe_stored(storage, found.key, cache),
            created_at=0.0,
            person_id=person_id,
        )
    )


def uploads_of_key(store: JobStore, key: str) -> list[str]:
    """The ids of the uploads that were made of objects of one key, which replaced each other."""
    with store.reading() as db:
        return list(db.scalars(sa.select(uploads.c.id).where(uploads.c.key == key)))
