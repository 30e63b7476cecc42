"""Files under keys: in Cloudflare R2 through boto3, or in a local directory.

`base` says what a storage is and which errors it raises; `local` and `r2` are the two there are,
each with a module for objects that come in parts (`local_multipart`, `r2_multipart`).
`room` tells whether this machine's disks have room for more, `ballast` is what a full one gives
up, and `archive` makes a ZIP of objects.
The package may import the transport's R2 client, and nothing else of CUTMV. boto3, which the bare
installation does not have, is imported at the first use of `R2Storage` or `open_client`.
"""

from typing import TYPE_CHECKING, Any

from cutmv.storage.archive import Archive, ArchivedFile, crc32_of
from cutmv.storage.ballast import Ballast
from cutmv.storage.base import (
    IncomingPart,
    NoSpace,
    ObjectNotFound,
    ObjectStat,
    PartDamaged,
    SignedPart,
    Storage,
    StorageError,
    StorageUnavailable,
    StoredPart,
    TooLarge,
)
from cutmv.storage.local import LocalStorage
from cutmv.storage.room import Disk, Room

if TYPE_CHECKING:
    from cutmv.storage.r2 import R2Storage, open_client

__all__ = [
    "Archive",
    "ArchivedFile",
    "Ballast",
    "Disk",
    "IncomingPart",
    "LocalStorage",
    "NoSpace",
    "ObjectNotFound",
    "ObjectStat",
    "PartDamaged",
    "R2Storage",
    "Room",
    "SignedPart",
    "Storage",
    "StorageError",
    "StorageUnavailable",
    "StoredPart",
    "TooLarge",
    "crc32_of",
    "open_client",
]


def __getattr__(name: str) -> Any:
    if name in ("R2Storage", "open_client"):
        from cutmv.storage import r2

        return getattr(r2, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
