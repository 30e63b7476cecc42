"""Objects of a local storage that come in parts.

The parts are written at their places in one file, so that completing is a rename, whatever the
object's size. What is stored is told by an empty file for each part, which is made when its bytes
are on the disk:

    .multipart/UPLOAD/data              the object
    .multipart/UPLOAD/NUMBER-SIZE-MD5   a part of it
"""

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from cutmv.storage.base import (
    CHUNK_BYTES,
    IncomingPart,
    ObjectNotFound,
    PartDamaged,
    SignedPart,
    StoredPart,
)
from cutmv.storage.local_root import Root, sync_folder

#: The folder inside the root, and the file with the bytes of one upload.
FOLDER, DATA = ".multipart", "data"


class LocalMultipart:
    """See Multipart. An upload's id names its folder."""

    origin = None

    def __init__(self, root: Root) -> None:
        self._root = root
        self._folder = root.folder / FOLDER

    def create(self, key: str, *, content_type: str) -> str:
        """See Multipart."""
        del key, content_type
        upload_id = uuid4().hex
        with self._root.errors("write"):
            (self._folder / upload_id).mkdir(parents=True)
            (self._folder / upload_id / DATA).touch()
        return upload_id

    def sign(self, key: str, upload_id: str, part: IncomingPart) -> SignedPart | None:
        """See Multipart: we take it."""
        del key, upload_id, part
        return None

    def put(self, key: str, upload_id: str, part: IncomingPart, stream: IO[bytes]) -> StoredPart:
        """See Multipart. Whoever sends a part again sends the same bytes to the same place."""
        del key
        folder, digest = self._of(upload_id), hashlib.md5(usedforsecurity=False)
        left = part.size
        with self._root.errors("write"):
            file = (folder / DATA).open("r+b")
        with file:
            file.seek(part.offset)
            while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
                with self._root.errors("write"):
                    file.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
            if left or part.md5 not in (None, digest.digest()):
                self._unmark(folder, part.number)
                raise PartDamaged(f"Part {part.number} has other bytes than were told.")
            with self._root.errors("write"):
                file.flush()
                os.fdatasync(file.fileno())
        stored = StoredPart(part.number, part.size, digest.hexdigest())
        self._unmark(folder, part.number)
        with self._root.errors("write"):
            _marker(folder, stored).touch()
        return stored

    def parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """See Multipart."""
        del key
        with self._root.errors("read"):
            names = [each.name for each in self._of(upload_id).iterdir() if each.name != DATA]
        told = (name.split("-") for name in names)
        found = [StoredPart(int(number), int(size), etag) for number, size, etag in told]
        return sorted(found, key=lambda part: part.number)

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        """See Multipart."""
        folder, path = self._of(upload_id), self._root.path(key)
        if any(not _marker(folder, part).exists() for part in parts):
            raise ObjectNotFound("There is no such part in the storage.")
        with self._root.errors("write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            (folder / DATA).replace(path)
            sync_folder(path.parent)
        with suppress(OSError):  # what can't be deleted now expires
            shutil.rmtree(folder)

    def abort(self, key: str, upload_id: str) -> None:
        """See Multipart."""
        del key
        with suppress(ObjectNotFound, FileNotFoundError), self._root.errors("delete"):
            shutil.rmtree(self._of(upload_id))

    def delete_unfinished(self, older_s: float) -> None:
        """Delete the uploads that began, or got a part, `older_s` seconds ago or earlier."""
        with suppress(ObjectNotFound), self._root.errors("list"):
            for folder in list(self._folder.iterdir()):
                with suppress(FileNotFoundError):
                    if folder.stat().st_mtime < time.time() - older_s:
                        shutil.rmtree(folder)

    def _unmark(self, folder: Path, number: int) -> None:
        with self._root.errors("write"):
            for marker in list(folder.glob(f"{number}-*")):
                marker.unlink(missing_ok=True)

    def _of(self, upload_id: str) -> Path:
        if not upload_id.isalnum():
            raise ObjectNotFound("There is no such upload in the storage.")
        return self._folder / upload_id


def _marker(folder: Path, part: StoredPart) -> Path:
    return folder / f"{part.number}-{part.size}-{part.etag}"
