"""The workspace: a folder for each cut in progress, locked for as long as its process lives.

The lock tells the folders of living processes from those that killed ones have left.
"""

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cutmv.services import WORKSPACE_FOLDER

#: The file in each folder on which its process holds a lock.
LOCK_FILE = ".lock"
#: Seconds that a process has to lock the folder it has made.
LOCK_GRACE_S = 60.0


@contextlib.contextmanager
def work_folder(data_dir: Path) -> Iterator[Path]:
    """A new folder in the data directory, deleted with all it holds at the end of the block."""
    parent = data_dir / WORKSPACE_FOLDER
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        with (folder / LOCK_FILE).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder


def sweep_workspace(data_dir: Path) -> None:
    """Delete the folders of processes that were killed."""
    parent = data_dir / WORKSPACE_FOLDER
    for folder in parent.iterdir() if parent.is_dir() else ():
        with contextlib.suppress(OSError):  # its process may delete it meanwhile
            if time.time() - folder.stat().st_mtime > LOCK_GRACE_S and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    with (folder / LOCK_FILE).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
