"""What boto3 raises, as errors of a storage."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from cutmv.storage.base import ObjectNotFound, StorageError, StorageUnavailable
from cutmv.transports.cloudflare.messages import CONDITION_FAILED

#: S3's error codes for an object, or a bucket, that is not there.
_MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
#: Statuses, beside those from 500 up, by which a storage says that it can't answer now.
_NOT_NOW = (408, 429)


class Taken(StorageError):
    """A conditional write found an object in its place."""


class PastEnd(StorageError):
    """A range starts at or past the object's end."""


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn boto3's errors into ours, without URLs, which may carry a signature."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        if code in _MISSING:
            raise ObjectNotFound("There is no such object in the storage.") from error
        if code == "InvalidRange":
            raise PastEnd("The object ends before that.") from error
        if code in CONDITION_FAILED:
            raise Taken("Another has written this object.") from error
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        kind = StorageUnavailable if status >= 500 or status in _NOT_NOW else StorageError
        raise kind(f"The storage can't {what}: it answered {code}.") from None
    except (HTTPClientError, BotoConnectionError, IncompleteReadError, OSError) as error:
        reason = type(error).__name__
        raise StorageUnavailable(f"The storage can't {what}: {reason}.") from None
    except BotoCoreError as error:
        raise StorageError(f"The storage can't {what}: {type(error).__name__}.") from None
