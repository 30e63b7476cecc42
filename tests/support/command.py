"""The `cutmv` command, as a person runs it.

`cutmv` runs it in this process, since a second for each import of everything adds up;
`cutmv_process` in one of its own.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from cutmv.cli import main
from tests.support.fork_server import run_python
from tests.support.processes import OURS, clean_env


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def cutmv(*argv: str, **env: str) -> Done:
    """Run it with these settings of ours, and no others."""
    without = {name: None for name in os.environ if name.startswith(OURS)}
    result = CliRunner().invoke(main, argv, env={**without, **env})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception  # what a person would see as a traceback
    return Done(result.exit_code, result.stdout, result.stderr)


def cutmv_process(*argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it in `cwd`, with the data directory below."""
    ours = clean_env(CUTMV_DATA_DIR=str(cwd / "data"), **env)
    return run_python("-m", "cutmv", *argv, cwd=cwd, env=ours)
