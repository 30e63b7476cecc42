"""How a video gets here: in one request (`accept`), or in parts that may come again (`multipart`).

Both look at its first bytes before the rest comes, and at all of it before it is an upload. Or
others have put it into the bucket (`objects`). `stored` tells whether it is still there, and
`listing` which there are.
"""

from cutmv.jobs.uploads.accept import (
    EmptyUpload,
    NoVideo,
    accept_upload,
    content_type_of,
    current,
    probe_stored,
    reserve,
    upload_of,
)
from cutmv.jobs.uploads.listing import latest_uploads
from cutmv.jobs.uploads.multipart import (
    UNFINISHED_AGE_S,
    MissingParts,
    MultipartUpload,
    MultipartUploads,
    TooManyUnfinished,
    WrongPart,
)
from cutmv.jobs.uploads.objects import accept_object, uploads_of_key
from cutmv.jobs.uploads.stored import object_upload_id, require_stored

__all__ = [
    "UNFINISHED_AGE_S",
    "EmptyUpload",
    "MissingParts",
    "MultipartUpload",
    "MultipartUploads",
    "NoVideo",
    "TooManyUnfinished",
    "WrongPart",
    "accept_object",
    "accept_upload",
    "content_type_of",
    "current",
    "latest_uploads",
    "object_upload_id",
    "probe_stored",
    "require_stored",
    "reserve",
    "upload_of",
    "uploads_of_key",
]
