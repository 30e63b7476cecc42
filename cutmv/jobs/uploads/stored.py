"""Whether what is stored under an upload's key is still the file that the upload was made of."""

from cutmv.jobs.keys import is_ours
from cutmv.jobs.model import Upload, id_for
from cutmv.media import MediaError
from cutmv.storage import ObjectNotFound, ObjectStat, Storage


def object_upload_id(found: ObjectStat) -> str:
    """The id of the upload that stands for an object which others have put into the bucket."""
    return id_for("object", f"{found.etag} {found.key}")


def require_stored(storage: Storage, upload: Upload) -> None:
    """Raise MediaError unless the upload's file is there, and of its size.

    An object that others have put must be the one that was looked at, by its entity tag.
    """
    if not upload.key:
        raise MediaError("The row of the upload can't be read: upload the video again.")
    try:
        found = storage.stat(upload.key)
    except ObjectNotFound:
        raise MediaError("The upload is no longer kept: upload the video again.") from None
    is_same = is_ours(upload.key) or object_upload_id(found) == upload.id
    if found.size != upload.size or not is_same:
        raise MediaError("The upload's file was replaced: upload the video again.")
