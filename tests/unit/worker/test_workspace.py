"""Folders of work in progress: kept for who lives, deleted of who was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from cutmv.worker.workspace import LOCK_GRACE_S, WORKSPACE_FOLDER, sweep_workspace, work_folder

HOLD = """
import sys, pathlib
from cutmv.worker.workspace import work_folder
with work_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "output.mp4").write_bytes(b"half")
    print(folder, flush=True)
    sys.stdin.read()
"""


def hold(data_dir: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has a folder, which looks old."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", HOLD, str(data_dir)]
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    make_old(folder)
    return process, folder


def make_old(folder: Path) -> None:
    then = folder.stat().st_mtime - LOCK_GRACE_S - 1
    os.utime(folder, (then, then))


def test_a_folder_goes_with_its_work(tmp_path: Path) -> None:
    with work_folder(tmp_path) as folder:
        (folder / "output.mp4").touch()
    assert list((tmp_path / WORKSPACE_FOLDER).iterdir()) == []


def test_only_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    living, kept = hold(tmp_path)
    killed, left = hold(tmp_path)
    with work_folder(tmp_path) as own:
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)

        sweep_workspace(tmp_path)

        assert not left.exists()
        assert (kept / "output.mp4").exists()
        assert own.exists()
    living.communicate("", timeout=10)
    assert not kept.exists()


def test_a_folder_that_is_just_made_is_left_alone(tmp_path: Path) -> None:
    young = tmp_path / WORKSPACE_FOLDER / "young"
    young.mkdir(parents=True)
    sweep_workspace(tmp_path)
    assert young.exists()
    make_old(young)
    sweep_workspace(tmp_path)
    assert not young.exists()
