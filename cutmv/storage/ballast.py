"""A file that is there for its room alone: a full disk gives it up, so that others can be freed.

To cancel and to delete the database has to note something, which a disk without a byte can't take.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cutmv.storage.base import NoSpace
from cutmv.storage.room import Room

#: Bytes of the file: many notes of a database; and its name.
BALLAST_BYTES, NAME = 16 << 20, "ballast"


class Ballast:
    """The file in `folder`, on a disk of which `reserve` bytes are kept free beside it."""

    def __init__(self, folder: Path, reserve: int) -> None:
        self._path, self._reserve = folder / NAME, reserve
        self._size = min(BALLAST_BYTES, reserve // 2)

    def take_in(self) -> None:
        """Make it, unless it is there; where it finds no room, it is made another time."""
        if not self._size or self._path.exists():
            return
        folder = self._path.parent
        with suppress(OSError, NoSpace):
            Room((), self._reserve, stored=folder).require(self._size)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{NAME}-") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
                os.link(file.name, self._path)

    def give_up(self) -> bool:
        """Free its room; tell whether it had some."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
