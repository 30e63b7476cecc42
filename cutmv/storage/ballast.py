"""A file that is there for its room alone: a full disk gives it up, so that others can be freed.

To cancel and to delete the database has to note something, which a disk without a byte can't take.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

#: Bytes of the file: many notes of a database; and its name.
BALLAST_BYTES, NAME = 16 << 20, "ballast"


class Ballast:
    """The file in `folder`, of `size` bytes; of none there is none."""

    def __init__(self, folder: Path, size: int) -> None:
        self._path, self._size = folder / NAME, size

    def take_in(self) -> None:
        """Make it, unless it is there; where it finds no room, it is made another time."""
        if not self._size or self._path.exists():
            return
        with (
            suppress(OSError),
            tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=f".{NAME}-") as file,
        ):
            os.posix_fallocate(file.fileno(), 0, self._size)
            os.link(file.name, self._path)

    def give_up(self) -> bool:
        """Free its room; tell whether it had some."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
