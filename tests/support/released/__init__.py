"""What versions before this one have left: databases, with jobs in flight, and messages.

`first` has the tables of the first version that kept jobs, `before` those of the last one without
revisions, and the messages in Redis that its web server and workers had published, the oldest
first. All rows are of one video, `song.mp4`. In `before` there are four jobs: two steps that share
a decode, one step, a step divided into two parts, and one whose worker was killed.
"""

from __future__ import annotations

import inspect
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

HERE = Path(__file__).parent
#: The commit of `before`.
COMMIT = "d3ef0111b7b7bf4e174b9df4863aa16993331b0a"


def code(folder: Path) -> Path:
    """Write the code of `before` into a folder, for PYTHONPATH; skips where it is not known."""
    root = HERE.parents[2]
    if subprocess.run(["git", "cat-file", "-e", COMMIT], cwd=root, capture_output=True).returncode:
        pytest.skip(f"the repository has no commit {COMMIT[:7]}: it was cloned without its history")
    archive = subprocess.run(
        ["git", "archive", COMMIT, "cutmv"], cwd=root, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def restore(url: str, version: str, data: Path) -> None:
    """Make the database of a version, and put its video into the data directory."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as db:
        for name in (engine.dialect.name, "rows"):
            for statement in (HERE / version / f"{name}.sql").read_text().split(";\n"):
                if statement.strip():
                    db.exec_driver_sql(statement)
        key = db.exec_driver_sql("select key from uploads").scalar_one()
    stored = data / "files" / key
    stored.parent.mkdir(parents=True)
    (data / "files" / ".partial").mkdir()  # a storage without it is away
    shutil.copy(HERE / "song.mp4", stored)


def messages(version: str) -> list[dict[str, Any]]:
    """The messages that a version has published."""
    return list(json.loads((HERE / version / "messages.json").read_text()))


def parameters(version: str, task: str) -> inspect.Signature:
    """What a version's task takes."""
    told = json.loads((HERE / version / "tasks.json").read_text())[task]
    return inspect.signature(eval(f"lambda {told}: None"))
