"""Folders for work in progress, each locked by its process: what the dead left is known by that."""

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: Where in the data directory the folders are.
FOLDER = "work"
#: The file in each that its process holds a lock on, for as long as it lives.
LOCK = ".lock"
#: Seconds that a process has to lock the folder it has made.
YOUNG_S = 60.0


@contextlib.contextmanager
def work_folder(data_dir: Path) -> Iterator[Path]:
    """A new folder, gone with all it holds at the end."""
    parent = data_dir / FOLDER
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        with (folder / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder


def sweep(data_dir: Path) -> None:
    """Delete the folders of processes that were killed."""
    parent = data_dir / FOLDER
    for folder in parent.iterdir() if parent.is_dir() else ():
        with contextlib.suppress(OSError):  # its process may delete it meanwhile
            if time.time() - folder.stat().st_mtime > YOUNG_S and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    with (folder / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
