"""Files under keys: in Cloudflare R2 through boto3, or in a local directory.

`base` says what a storage is and which errors it raises; `local` and `r2` are the two there are.
"""

from cutmv.storage.base import NotFound, ObjectStat, Storage, StorageError, TooLarge
from cutmv.storage.local import LocalStorage
from cutmv.storage.r2 import R2Storage

__all__ = [
    "LocalStorage",
    "NotFound",
    "ObjectStat",
    "R2Storage",
    "Storage",
    "StorageError",
    "TooLarge",
]
